"""What other users of this machine can do to the caches, and how to prevent it.

The cluster bus of Valkey has no passwords: only TLS tells the nodes of an instance from other processes.
"""

import msgspec


class Exposure(msgspec.Struct, frozen=True):
    """:ivar blocking: nodes cannot be started; anything else is a risk."""

    risk: str
    remedy: str
    blocking: bool = False


_CAN_DO = "any user of this machine can join the cluster bus of a cache and take its slots and data without a password"
_GUIDE = "See docs/host-users.md."


def exposures(*, tls: bool, instances_with_tls: int, instances_without_tls: int) -> list[Exposure]:
    """`tls`: the configured valkey-server has it. Both counts are of instances that exist."""
    found = []
    if not tls:
        remedy = (
            "Use a machine where nobody else has an account, load the rules of `cachewright firewall`, or use a "
            f"valkey-server with TLS. {_GUIDE}"
        )
        found.append(Exposure(f"valkey-server has no TLS: {_CAN_DO}.", remedy))
    elif instances_without_tls:
        risk = f"{instances_without_tls} instances were created without TLS between their nodes: {_CAN_DO}."
        remedy = f"Load the rules of `cachewright firewall`, or move the data to new instances. {_GUIDE}"
        found.append(Exposure(risk, remedy))
    if not tls and instances_with_tls:
        risk = f"{instances_with_tls} instances need a valkey-server with TLS: their nodes cannot be started again."
        remedy = "Use the server that they were created with: --valkey-binary."
        found.append(Exposure(risk, remedy, blocking=True))
    return found
