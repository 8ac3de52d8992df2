"""Loading the data set, and checking that every key of it is there with its content."""

import time
from collections.abc import Callable

import msgspec

from cachewright.cli.demo.content import DataSet, key, missing
from cachewright.cli.demo.owners import SlotClient

_EXAMPLES = 5
_TELL_EVERY = 2000

Tell = Callable[[int], None]
"""Called with how many keys are done, now and then."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    keys: int
    seconds: float

    @property
    def keys_per_second(self) -> float:
        return self.keys / self.seconds


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """`examples` names a few of the keys that are missing or changed."""

    checked: int
    missing: int
    changed: int
    examples: tuple[str, ...] = ()


def load(owners: SlotClient, data: DataSet, tell: Tell) -> Loaded:
    begun = time.monotonic()
    work = ((key(number), list(data.writes(number))) for number in range(data.keys))
    for done, _ in enumerate(owners.replies(work), start=1):
        if done % _TELL_EVERY == 0:
            tell(done)
    return Loaded(keys=data.keys, seconds=time.monotonic() - begun)


def verify(owners: SlotClient, data: DataSet, tell: Tell) -> Verified:
    gone, changed, examples = 0, 0, list[str]()
    work = ((key(number), data.reads(number)) for number in range(data.keys))
    for number, replies in enumerate(owners.replies(work)):
        if not data.matches(number, replies):
            is_gone = missing(replies)
            gone += is_gone
            changed += not is_gone
            if len(examples) < _EXAMPLES:
                examples.append(f"{key(number).decode()} ({'missing' if is_gone else 'changed'})")
        if number % _TELL_EVERY == 0:
            tell(number)
    return Verified(checked=data.keys, missing=gone, changed=changed, examples=tuple(examples))
