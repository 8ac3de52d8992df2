"""Risks from other users of this machine, and their remedies.

The cluster bus of Valkey has no passwords: only TLS separates the nodes of an instance from other processes.
"""

import msgspec


class Exposure(msgspec.Struct, frozen=True):
    """A risk and its remedy.

    :ivar blocking: whether it prevents the start of nodes.
    """

    risk: str
    remedy: str
    blocking: bool = False


_CAN_DO = "any user of this machine can join the cluster bus of a cache and take its slots and data without a password"
_GUIDE = "See docs/host-users.md."


def exposures(*, tls: bool, instances_with_tls: int, instances_without_tls: int) -> list[Exposure]:
    """Return the risks of this machine. `tls`: whether the configured valkey-server supports TLS."""
    risks = []
    if not tls:
        remedy = (
            "Use a machine on which no other person has an account, load the rules of `cachewright firewall`, or use a "
            f"valkey-server with TLS. {_GUIDE}"
        )
        risks.append(Exposure(f"valkey-server has no TLS: {_CAN_DO}.", remedy))
    elif instances_without_tls:
        were = _number(instances_without_tls, "instance was", "instances were")
        risk = f"{were} created without TLS between nodes: {_CAN_DO}."
        remedy = f"Load the rules of `cachewright firewall`, or move the data to new instances. {_GUIDE}"
        risks.append(Exposure(risk, remedy))
    if not tls and instances_with_tls:
        need = _number(instances_with_tls, "instance needs", "instances need")
        risk = f"{need} a valkey-server with TLS, and this one has none: nodes that stop cannot be restarted."
        remedy = "Use a valkey-server with TLS: --valkey-binary."
        risks.append(Exposure(risk, remedy, blocking=True))
    return risks


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
