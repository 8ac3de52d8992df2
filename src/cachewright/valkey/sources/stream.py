"""The stream of changes of one gateway, with what is needed to copy them."""

import msgspec

from cachewright.valkey.session import Session
from cachewright.valkey.sources.changed_keys import ChangedKeys
from cachewright.valkey.sources.copier import KeyCopier
from cachewright.valkey.sources.gateway import Gateway, GatewayState
from cachewright.valkey.sources.target import TargetLinks


class Stream(msgspec.Struct, kw_only=True):
    """:ivar is_whole: whether every key was copied since the changes are watched.
    :ivar copied_offset: position in the source's stream of writes up to which all changes are copied.
    :ivar databases: numbers of databases that have or had keys.
    :ivar swaps: see `GatewayState`, as `run`, `writes` and `removals`.
    :ivar evicted: number of keys that the instance had evicted when the copy began; None before.
    """

    gateway: Gateway
    session: Session
    changed: ChangedKeys
    links: TargetLinks
    copier: KeyCopier
    is_whole: bool = False
    copied_offset: int = 0
    databases: set[int] = msgspec.field(default_factory=lambda: {0})
    swaps: int = 0
    run: str = ""
    writes: int = 0
    removals: int = 0
    evicted: int | None = None

    def see(self, state: GatewayState) -> None:
        """Take a state of the gateway into account, before changed keys are copied."""
        self.databases |= state.keys.keys()
        self.run, self.writes, self.removals = state.run, state.writes, state.removals
        if self.changed.was_flushed or state.swaps != self.swaps:
            self.is_whole = False
            self.swaps = state.swaps

    def close(self) -> None:
        self.session.close()
        self.changed.close()
        self.links.close()


class Streams:
    """Open streams of this process, by the name of the gateway. They are lost when the server ends; then every key is
    copied again.

    :ivar fresh: names of gateways whose migration this process has planned and of which it has copied nothing, so that
        no key that was copied needs to be deleted.
    """

    def __init__(self) -> None:
        self._open: dict[str, Stream] = {}
        self.fresh: set[str] = set()

    def get(self, name: str) -> Stream | None:
        """Return the open stream of a gateway, None if there is none or its connection has ended."""
        stream = self._open.get(name)
        if stream is not None and stream.changed.is_lost:
            self.close(name)
            return None
        return stream

    def names(self) -> set[str]:
        """Return the names of the gateways of which something is known here."""
        return {*self._open, *self.fresh}

    def keep(self, stream: Stream) -> None:
        self._open[stream.gateway.name] = stream

    def close(self, name: str) -> None:
        if stream := self._open.pop(name, None):
            stream.close()
