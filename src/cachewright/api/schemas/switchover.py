"""Bodies of switchovers and of priorities of replicas. Types follow the SDK's models."""

from typing import Annotated

import msgspec


class PriorityBody(msgspec.Struct, frozen=True):
    """0: the replica never takes over; 1: first, 100: last."""

    slave_priority_weight: Annotated[int, msgspec.Meta(ge=0, le=100)]
