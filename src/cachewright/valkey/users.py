"""Users of a node: which it should have by the record, which it has, and how they become equal.

Nodes do not replicate users. valkey.conf has them for the next start; commands change them on a running node, and leave
connections open, except those of a user that is deleted. Internal users are not changed here.

Source: ACL LIST, SETUSER and DELUSER of Valkey 9.1.
"""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.model.instances import Instance, Node
from cachewright.valkey.access import Access
from cachewright.valkey.acl import CLIENT_USER, INTERNAL_USERS, account_rules, client_rules, hashed
from cachewright.valkey.client import ask, connect

_ANSWER_SECONDS = 2.0
_OF_OLDER_SERVERS = " sanitize-payload"
"""What Valkey 9.0 shows of every user whose RESTORE is checked."""


class User(msgspec.Struct, frozen=True):
    """A user of a node with the rules that it should have."""

    name: str
    rules: tuple[str, ...]

    @property
    def line(self) -> str:
        """As ACL LIST shows it, and as valkey.conf has it, after the word `user`."""
        return " ".join((self.name, *self.rules))


NO_USERS = (User(CLIENT_USER, ("off",)),)
"""Users of a node that clients cannot use."""


def users_of(instance: Instance) -> tuple[User, ...]:
    """Return the users that every node of the instance should have for clients."""
    disabled = instance.disabled_commands
    accounts = (account for account in instance.accounts if account.on_nodes)
    return (
        client_user(instance.password, disabled),
        *(User(account.name, account_rules(account.role, account.password_hash, disabled)) for account in accounts),
    )


def client_user(password: str | None, disabled: Sequence[str] = ()) -> User:
    """Return the user `default`."""
    return User(CLIENT_USER, client_rules(hashed(password) if password else None, disabled))


def changes(listed: Sequence[str], wanted: Sequence[User]) -> dict[str, tuple[str, ...]]:
    """Return commands that make the users of a node equal to the record, by the name of the user. Pure.

    :param listed: reply of ACL LIST.
    """
    shown = (line.replace(_OF_OLDER_SERVERS, "").partition(" ")[2] for line in listed)
    present = {line.partition(" ")[0]: line for line in shown}
    names = {user.name for user in wanted}
    commands = {
        user.name: ("ACL", "SETUSER", user.name, "reset", *user.rules)
        for user in wanted
        if present.get(user.name) != user.line
    }
    extra = sorted(present.keys() - names - INTERNAL_USERS)
    return commands | {name: ("ACL", "DELUSER", name) for name in extra}


async def ensure_users(node: Node, access: Access, wanted: Sequence[User]) -> Mapping[str, tuple[str, ...]]:
    """Make the users of a node equal to the record. Return the commands that it took, by user. Raises one of NODE_GONE
    if the node does not answer, and NodeRefused if it refuses."""
    async with connect(node, access, _ANSWER_SECONDS) as client:
        commands = changes([str(line) for line in await ask(client, "ACL", "LIST")], wanted)
        for command in commands.values():
            await ask(client, *command)
    return commands
