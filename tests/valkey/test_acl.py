"""What clients may do on a real node, command by command."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cachewright.valkey.acl import DENIED, DENIED_TO_READERS, account_rules, client_rules, control_rules, hashed
from cachewright.valkey.client import ask, connect
from cachewright.valkey.commands_page import render
from cachewright.valkey.users import User
from standalone_node import OPEN, started

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
ALLOWED = (Path(__file__).parent / "allowed_commands.txt").read_text().split()
"""Every command that clients keep. A command that a later server adds belongs here or among the denied ones."""


async def test_every_command_of_the_server_is_either_allowed_or_denied_with_a_reason(tmp_path: Path) -> None:
    disabled = ("command", "flushall", "hgetall")
    password = hashed("Client-password-1")
    users = {
        "tenant": client_rules(password),
        "writer": account_rules("write", password),
        "reader": account_rules("read", password),
        "limited": client_rules(None, disabled),
        "control": control_rules("secret"),
    }
    async with started(tmp_path, "cluster-enabled yes") as node, connect(node, OPEN) as client:
        for user, rules in users.items():
            await ask(client, "ACL SETUSER", user, "reset", *rules)
        listed = [line for line in await ask(client, "ACL LIST") if not line.startswith("user default")]
        assert set(listed) == {f"user {User(user, rules).line}" for user, rules in users.items()}, "as users compares"
        client.response_callbacks.clear()
        rows = await ask(client, "COMMAND")
        known, writing = dict(commands(rows)), set(writing_commands(rows))
        allowed: dict[str, set[str]] = {user: set() for user in users}
        for name, arity in known.items():
            words = [*name.split("|"), *["1"] * 12][: abs(arity)]
            for user, names in allowed.items():
                if await ask(client, "ACL DRYRUN", user, *words) == "OK":
                    names.add(name)
    denied = [command for row in DENIED for command in row.commands]
    assert len(denied) == len(set(denied))
    assert known.keys() - allowed["tenant"] == set(denied)
    assert allowed["tenant"] == allowed["writer"] == set(ALLOWED)
    denied_to_readers = {command for row in DENIED_TO_READERS for command in row.commands}
    assert allowed["reader"] == set(ALLOWED) - writing - denied_to_readers
    assert allowed["limited"] == {name for name in ALLOWED if name.split("|")[0] not in disabled}
    assert allowed["control"] == known.keys()


def writing_commands(rows: Sequence[Any]) -> Iterator[str]:
    """Each command or subcommand with the flag `write`."""
    for name, _, flags, *_, subcommands in rows:
        if subcommands:
            yield from writing_commands(subcommands)
        elif "write" in flags:
            yield name


def commands(rows: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """Each command of `COMMAND`, or its subcommands, with its arity."""
    for name, arity, *_, subcommands in rows:
        if subcommands:
            yield from ((found[0], found[1]) for found in subcommands)
        else:
            yield name, arity


def test_the_page_is_rendered_from_the_table() -> None:
    assert PAGE.read_text() == render()
