"""Rights of the users of a node: `cachewright`, the control plane; `default`, the clients; and accounts. Where Sentinel
watches the nodes, there are also `cachewright-sentinel` and `cachewright-proxy`, which have few rights.

The control plane and replication may use every command. Clients may use all data commands, but no command that
administers the node, connects it to other machines, or reveals its secrets. Accounts with the role `write` have the
rights of `default`, those with `read` change nothing. The rules use Valkey's categories, so that
administrative commands of later releases are denied without a change here. `DENIED` lists the denied commands with the
reasons; a test compares it with the command list of the bundled server.

Source: https://valkey.io/topics/acl and `COMMAND INFO` of Valkey 9.1.
"""

import hashlib
from collections.abc import Collection, Iterable

import msgspec

from cachewright.model.accounts import AccountRole

CONTROL_USER = "cachewright"
CLIENT_USER = "default"
SENTINEL_USER = "cachewright-sentinel"
PROXY_USER = "cachewright-proxy"
INTERNAL_USERS = frozenset({CONTROL_USER, SENTINEL_USER, PROXY_USER})
"""Users of connections that are not those of clients."""

HELLO_CHANNEL = "__sentinel__:hello"
"""Channel of the nodes in which sentinels find each other."""

_SENTINEL_COMMANDS = (
    "ping", "info", "role", "publish", "subscribe", "multi", "exec", "replicaof", "slaveof", "failover",
    "config|rewrite", "client|setname", "client|kill", "client|pause", "client|unpause", "script|kill",
)  # fmt: skip
"""Commands that sentinels send to nodes. A transaction fails as a whole if one of them is denied.

Sources: https://valkey.io/topics/sentinel, and sentinel.c of Valkey 9.1 for the coordinated failover."""

_PEER_COMMANDS = (
    "ping", "publish", "sentinel|is-master-down-by-addr", "sentinel|is-primary-down-by-addr", "client|setname",
)  # fmt: skip
"""Commands that sentinels send to each other."""

_ALLOWED = (
    "info", "keys", "sort", "sort_ro", "flushall", "flushdb", "restore", "role", "lastsave", "client|list",
    "client|unblock", "cluster|replicas", "cluster|slaves", "slowlog|get", "slowlog|len", "slowlog|reset",
    "commandlog|get", "commandlog|len", "commandlog|reset", "latency|doctor", "latency|graph", "latency|histogram",
    "latency|history", "latency|latest", "latency|reset",
)  # fmt: skip
"""Commands that clients may use although Valkey lists them as administrative or dangerous. They concern only the data
and statistics of the client's own instance. RESTORE checks its whole payload (`sanitize-dump-payload`)."""

_WRITING = frozenset({"sort", "flushall", "flushdb", "restore"})
"""Those that write."""


class Denied(msgspec.Struct, frozen=True):
    """Commands that clients of an instance may not use, with the reason."""

    commands: tuple[str, ...]
    reason: str


DENIED = (
    Denied(
        ("cluster|addslots", "cluster|addslotsrange", "cluster|bumpepoch", "cluster|cancelslotmigrations",
         "cluster|count-failure-reports", "cluster|delslots", "cluster|delslotsrange", "cluster|failover",
         "cluster|flushslot", "cluster|flushslots", "cluster|forget", "cluster|getslotmigrations", "cluster|meet",
         "cluster|migrateslots", "cluster|replicate", "cluster|reset", "cluster|saveconfig",
         "cluster|set-config-epoch", "cluster|setslot", "cluster|syncslots"),
        "Change which nodes form the cluster and who owns which slots: use the API. `CLUSTER MEET` could merge the "
        "cluster with another one.",
    ),
    Denied(
        ("config|get", "config|resetstat", "config|rewrite", "config|set"),
        "Read secrets, lift limits and switch persistence off: use the parameters of the API.",
    ),
    Denied(
        ("acl|deluser", "acl|dryrun", "acl|getuser", "acl|list", "acl|load", "acl|log", "acl|save", "acl|setuser",
         "acl|users"),
        "Read and change users and their passwords, the control plane's among them.",
    ),
    Denied(
        ("migrate", "replicaof", "slaveof", "failover"),
        "Connect the node to an address of the client's choice, or change its role.",
    ),
    Denied(
        ("psync", "replconf", "restore-asking", "sync"),
        "Belong to replication and slot migration, which use the control plane's user.",
    ),
    Denied(
        ("bgrewriteaof", "bgsave", "save"),
        "Fork the node or block it while it writes a file: persistence is the control plane's task.",
    ),
    Denied(("shutdown",), "Stops the node: use restart or delete of the API."),
    Denied(
        ("client|kill", "client|no-evict", "client|pause", "client|unpause"),
        "Stop other clients of the node, replication and the control plane among them.",
    ),
    Denied(("monitor",), "Shows the commands of every client of the node, the control plane's among them."),
    Denied(
        ("module|list", "module|load", "module|loadex", "module|unload"), "Run code of the client's choice in the node."
    ),
    Denied(
        ("debug", "pfdebug", "pfselftest", "script|debug"), "Are made for developers of Valkey; some stop the node."
    ),
    Denied(("swapdb",), "Exchanges databases under other clients; a cluster has only one."),
)  # fmt: skip


_SENTINEL_CLIENT_COMMANDS = (
    "ping", "client|setname", "client|setinfo", "sentinel|get-primary-addr-by-name",
    "sentinel|get-master-addr-by-name", "sentinel|replicas", "sentinel|slaves", "sentinel|sentinels",
)  # fmt: skip
"""Commands of clients that find the primary through sentinels."""


DENIED_TO_READERS = (
    Denied(("publish", "spublish"), "Send messages to other clients."),
    Denied(("script|flush", "script|kill", "function|kill", "client|unblock"), "End what other clients do."),
    Denied(
        ("slowlog|reset", "commandlog|reset", "latency|reset", "memory|purge"),
        "Delete statistics, or make the node work.",
    ),
)
"""Commands that accounts with the role `read` may not use, besides all commands that write. What scripts and functions
write is refused as well, command by command."""


def client_rules(password_hash: str | None, disabled: Collection[str] = ()) -> tuple[str, ...]:
    """Return the ACL rules of the user `default`. Without a password every client is accepted.

    :param disabled: commands that the owner of the instance has disabled.
    """
    return _rules(password_hash, disabled, _ALLOWED)


def account_rules(role: AccountRole, password_hash: str, disabled: Collection[str] = ()) -> tuple[str, ...]:
    """Return the ACL rules of an account."""
    if role == "write":
        return _rules(password_hash, disabled, _ALLOWED)
    denied = [command for row in DENIED_TO_READERS for command in row.commands]
    allowed = [command for command in _ALLOWED if command not in {*denied, *_WRITING}]
    return _rules(password_hash, disabled, allowed, ("-@write", *(f"-{command}" for command in denied)))


def control_rules(secret: str) -> tuple[str, ...]:
    """Return the ACL rules of the user `cachewright`."""
    return ("on", f"#{hashed(secret)}", "~*", "&*", "+@all")


def sentinel_rules(password: str) -> tuple[str, ...]:
    """Return the ACL rules of the user `cachewright-sentinel` on nodes."""
    return _least_rules(password, _SENTINEL_COMMANDS, f"&{HELLO_CHANNEL}")


def peer_rules(password: str) -> tuple[str, ...]:
    """Return the ACL rules of the user `cachewright-sentinel` on sentinels."""
    return _least_rules(password, _PEER_COMMANDS, f"&{HELLO_CHANNEL}")


def sentinel_client_rules(password: str | None) -> tuple[str, ...]:
    """Return the ACL rules of the clients of one instance on sentinels. They may ask for the addresses of an instance
    whose id they know, but not list instances or receive events, which would show those of other projects."""
    sign_in = f"#{hashed(password)}" if password else "nopass"
    allowed = (f"+{command}" for command in _SENTINEL_CLIENT_COMMANDS)
    return ("on", sign_in, "resetkeys", "resetchannels", "-@all", *allowed)


def proxy_rules(password: str) -> tuple[str, ...]:
    """Return the ACL rules of the user `cachewright-proxy`, by which HAProxy asks nodes for their roles."""
    return _least_rules(password, ("info", "client|setname"))


def derived_password(secret: str, user: str) -> str:
    """Return the password of an internal user with few rights. It does not reveal the secret of the control plane."""
    return hashlib.sha256(f"{user}/{secret}".encode()).hexdigest()


def _least_rules(password: str, commands: tuple[str, ...], *channels: str) -> tuple[str, ...]:
    allowed = (f"+{command}" for command in commands)
    return ("on", f"#{hashed(password)}", "resetkeys", "resetchannels", *channels, "-@all", *allowed)


def hashed(password: str) -> str:
    """Return the SHA-256 of a password, so that no file and no command reveals it."""
    return hashlib.sha256(password.encode()).hexdigest()


def _rules(
    password_hash: str | None, disabled: Collection[str], allowed: Iterable[str], denied: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return rules in the words of ACL LIST: no rule overrides another one on the same command."""
    sign_in = f"#{password_hash}" if password_hash else "nopass"
    kept = (f"+{command}" for command in allowed if command not in disabled)
    never = (f"-{command}" for command in sorted(disabled))
    return ("on", sign_in, "~*", "&*", "+@all", "-@admin", "-@dangerous", "-script|debug", *denied, *kept, *never)
