"""Loads the data set, and verifies that every key exists with its content."""

import time
from collections.abc import Callable

import msgspec

from cachewright.cli.demo.content import DataSet, key, missing
from cachewright.cli.demo.slot_client import SlotClient

_EXAMPLES = 5
_REPORT_EVERY = 2000

ReportCount = Callable[[int], None]
"""Called every few thousand keys with the number of keys done."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    keys: int
    seconds: float

    @property
    def keys_per_second(self) -> float:
        return self.keys / self.seconds


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the check. `examples` names some of the missing or changed keys."""

    checked: int
    missing: int
    changed: int
    examples: tuple[str, ...] = ()


def load(slot_client: SlotClient, data: DataSet, report_count: ReportCount) -> Loaded:
    start = time.monotonic()
    work = ((key(number), list(data.writes(number))) for number in range(data.keys))
    for done, _ in enumerate(slot_client.replies(work), start=1):
        if done % _REPORT_EVERY == 0:
            report_count(done)
    return Loaded(keys=data.keys, seconds=time.monotonic() - start)


def verify(slot_client: SlotClient, data: DataSet, report_count: ReportCount) -> Verified:
    gone, changed, examples = 0, 0, list[str]()
    work = ((key(number), data.reads(number)) for number in range(data.keys))
    for number, replies in enumerate(slot_client.replies(work)):
        if not data.matches(number, replies):
            is_gone = missing(replies)
            gone += is_gone
            changed += not is_gone
            if len(examples) < _EXAMPLES:
                examples.append(f"{key(number).decode()} ({'missing' if is_gone else 'changed'})")
        if number % _REPORT_EVERY == 0:
            report_count(number)
    return Verified(checked=data.keys, missing=gone, changed=changed, examples=tuple(examples))
