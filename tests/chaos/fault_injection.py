"""What strikes: processes are killed and frozen by a seed, and each strike is noted."""

import time
from collections.abc import Callable

import psutil
from decisions import Decisions

from serving import Server, freeze, thaw

LONGEST_FREEZE = 60.0
FREEZE_BEFORE_FAILOVER = 3.0
"""With replicas. A master that is frozen for longer is replaced by a replica, to which Valkey copies what it has
acknowledged a moment later: that can lose writes, and is Valkey's own, not what is looked for here."""


class FaultInjector(Decisions):
    """Kills and freezes of processes by a seed.

    :param longest_freeze: of nodes, in seconds.
    """

    def __init__(self, server: Server, seed: int, longest_freeze: float) -> None:
        super().__init__(seed)
        self.server = server
        self.kills: list[float] = []
        self._longest = longest_freeze

    def strike(self) -> None:
        strikes: list[Callable[[], None]] = [
            self._kill_server,
            self._freeze_server,
            self._kill_node,
            self._freeze_node,
        ]
        self.random.choice(strikes)()

    def _kill_server(self) -> None:
        self.note("kill -9 server")
        self.server.kill()
        self.pause(1)
        self.server.start()

    def _freeze_server(self) -> None:
        assert self.server.process is not None
        self._freeze(psutil.Process(self.server.process.pid), "server", self.random.uniform(0.5, 5))

    def _kill_node(self) -> None:
        number = self.random.random()
        if node := self._node(number):
            self.note(f"kill -9 node {node.pid}")
            self.kills.append(time.monotonic())
            node.kill()

    def _freeze_node(self) -> None:
        number, seconds = self.random.random(), 1 + self.random.expovariate(1 / 5)
        if node := self._node(number):
            self._freeze(node, "node", min(seconds, self._longest))

    def _freeze(self, process: psutil.Process, what: str, seconds: float) -> None:
        self.note(f"freeze {what} {process.pid} for {seconds:.1f} s")
        freeze(process)
        time.sleep(seconds)
        if process.is_running():
            thaw(process)

    def _node(self, number: float) -> psutil.Process | None:
        """The one at that share of the living ones: a seed asks for the same, however many there are."""
        nodes = sorted(self.server.nodes(), key=lambda node: node.pid)
        return nodes[int(number * len(nodes))] if nodes else None
