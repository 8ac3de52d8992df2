"""Bodies of priorities of replicas and of nodes to start or stop. Types follow the SDK's models."""

from typing import Annotated, Literal

import msgspec


class PriorityBody(msgspec.Struct, frozen=True):
    """0: the replica never takes over; 1: first, 100: last."""

    slave_priority_weight: Annotated[int, msgspec.Meta(ge=0, le=100)]


class NodeStatusBody(msgspec.Struct, frozen=True):
    """Without `node_ids`, all nodes of the instance."""

    action: Literal["start", "stop"]
    node_ids: list[Annotated[str, msgspec.Meta(max_length=40)]] = []
