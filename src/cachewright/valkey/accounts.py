"""Accounts of a node besides those of `valkey.acl`: read them, and make a node's accounts equal to others.

An account is a user name and its rules, which contain passwords only as hashes. Nodes do not replicate accounts.
Neither clients nor Cachewright create any; an administrator of the host may, until the node's next start. Functions
raise one of NODE_GONE if the node does not answer and NodeRefused if it refuses.

Source: ACL LIST, SETUSER and DELUSER of Valkey 9.1.
"""

from cachewright.valkey.acl import CLIENT_USER, INTERNAL_USERS
from cachewright.valkey.client import Valkey, ask
from cachewright.valkey.equality import Difference

_OWN = {CLIENT_USER, *INTERNAL_USERS}


async def accounts(client: Valkey) -> dict[str, bytes]:
    """Return the rules of each account, by name."""
    lines = [str(line).split(" ") for line in await ask(client, "ACL", "LIST")]
    return {words[1]: " ".join(words[2:]).encode() for words in lines if words[1] not in _OWN}


async def change_accounts(client: Valkey, difference: Difference) -> None:
    """Create, change and delete accounts."""
    for name, rules in {**difference.missing, **difference.different}.items():
        await ask(client, "ACL", "SETUSER", name, "reset", *rules.decode().split(" "))
    if difference.extra:
        await ask(client, "ACL", "DELUSER", *sorted(difference.extra))
