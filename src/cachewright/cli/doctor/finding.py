"""The result of a check."""

from typing import Literal

import msgspec

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """:ivar remedy: suggested fix; empty if the check passed."""

    name: str
    state: State
    message: str
    remedy: str = ""
