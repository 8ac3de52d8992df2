"""What clients may do on a real node, command by command."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cachewright.valkey.acl import DENIED, client_rules, control_rules
from cachewright.valkey.client import ask, connect
from cachewright.valkey.commands_page import render
from standalone_node import OPEN, started

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
ALLOWED = (Path(__file__).parent / "allowed_commands.txt").read_text().split()
"""Every command that clients keep. A command that a later server adds belongs here or among the denied ones."""


async def test_every_command_of_the_server_is_either_allowed_or_denied_with_a_reason(tmp_path: Path) -> None:
    async with started(tmp_path, "cluster-enabled yes") as node, connect(node, OPEN) as client:
        await ask(client, "ACL SETUSER", "tenant", "reset", *client_rules("Client-password-1"))
        await ask(client, "ACL SETUSER", "control", "reset", *control_rules("secret"))
        client.response_callbacks.clear()
        known = dict(commands(await ask(client, "COMMAND")))
        allowed: dict[str, set[str]] = {"tenant": set(), "control": set()}
        for name, arity in known.items():
            words = [*name.split("|"), *["1"] * 12][: abs(arity)]
            for user, names in allowed.items():
                if await ask(client, "ACL DRYRUN", user, *words) == "OK":
                    names.add(name)
    denied = [command for row in DENIED for command in row.commands]
    assert len(denied) == len(set(denied))
    assert known.keys() - allowed["tenant"] == set(denied)
    assert allowed["tenant"] == set(ALLOWED)
    assert allowed["control"] == known.keys()


def commands(rows: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """Each command of `COMMAND`, or its subcommands, with its arity."""
    for name, arity, *_, subcommands in rows:
        if subcommands:
            yield from ((found[0], found[1]) for found in subcommands)
        else:
            yield name, arity


def test_the_page_is_rendered_from_the_table() -> None:
    assert PAGE.read_text() == render()
