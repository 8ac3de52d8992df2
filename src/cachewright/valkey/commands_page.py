"""The page `docs/commands.md`: commands that clients of an instance may not use, here and on the cloud."""

from cachewright.valkey.acl import DENIED, DENIED_TO_READERS

_CLOUD = frozenset(
    {
        "acl|deluser", "acl|load", "acl|save", "acl|setuser", "bgrewriteaof", "bgsave", "cluster|addslots",
        "cluster|addslotsrange", "cluster|bumpepoch", "cluster|count-failure-reports", "cluster|delslots",
        "cluster|delslotsrange", "cluster|flushslots", "cluster|forget", "cluster|meet", "cluster|replicate",
        "cluster|reset", "cluster|saveconfig", "cluster|set-config-epoch", "cluster|setslot", "config|resetstat",
        "config|rewrite", "config|set", "debug", "migrate", "module|list", "module|load", "module|loadex",
        "module|unload", "psync", "replicaof", "save", "shutdown", "slaveof", "sync",
    }
)  # fmt: skip
"""Commands that the cloud disables on cluster instances of version 7.0, from its product description."""


def render() -> str:
    """Return the page as Markdown."""
    lines = [
        "# Commands that clients may not use",
        "",
        "Clients of an instance sign in as the user `default`. They keep every command on data, scripts and functions,",
        "publish and subscribe, transactions, `INFO`, the reading `CLUSTER` commands, `FLUSHALL` and `FLUSHDB`,",
        "`SLOWLOG`, `LATENCY` and the `CLIENT` commands that concern their own connection. The commands below answer",
        "`NOPERM`. The last column: does the cloud disable the command too, on cluster instances of version 7.0?",
        "",
        "`RESTORE` is allowed; the server checks the whole payload first. Parameters of the server are changed through",
        "the API, which applies them to every node. This page is rendered from `src/cachewright/valkey/acl.py`.",
        "",
        "| command | why | on the cloud |",
        "|---|---|---|",
    ]
    for row in DENIED:
        for command in row.commands:
            cloud = "disabled" if command in _CLOUD else "not listed"
            lines.append(f"| {_shown(command)} | {row.reason} | {cloud} |")
    lines += [
        "",
        "## Accounts",
        "",
        "[Accounts](accounts.md) with the role `write` have the rights of `default`. Accounts with the role `read` may",
        "use no command that writes, also in scripts and functions, and none of these:",
        "",
        "| command | why |",
        "|---|---|",
        *(f"| {_shown(command)} | {row.reason} |" for row in DENIED_TO_READERS for command in row.commands),
    ]
    return "\n".join(lines) + "\n"


def _shown(command: str) -> str:
    return f"`{command.replace('|', ' ').upper()}`"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # generates the page
