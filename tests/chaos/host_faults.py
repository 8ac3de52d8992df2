"""Faults of hosts on a network, chosen by a seed: a host is cut off, receives or sends nothing, is slow, or dies."""

import time
from collections.abc import Callable

from decisions import Decisions

from agents import Hosts
from machines import Machines

_SLOW_SECONDS, _LOSS = 0.05, 0.025


class HostFaults(Decisions):
    """Faults of hosts by a seed, one at a time.

    :param longest: of a fault, in seconds.
    """

    def __init__(self, machines: Machines, hosts: Hosts, seed: int, longest: float) -> None:
        super().__init__(seed)
        self.hosts = hosts
        self._machines = machines
        self._longest = longest

    def strike(self) -> None:
        """Cause a fault of a host for a while, or kill the server."""
        strikes: list[tuple[str, Callable[[str], None]]] = [
            ("cut off", self._machines.cut),
            ("not heard", self._machines.silence),
            ("deaf", self._machines.deafen),
            ("slow", lambda name: self._machines.slow(name, _SLOW_SECONDS, _LOSS)),
            ("dead", self._die),
            ("without its server", self._kill_server),
        ]
        what, strike = self.random.choice(strikes)
        name, seconds = self.random.choice(sorted(self.hosts.agents)), self.random.uniform(1, self._longest)
        self.note(f"{name} is {what} for {seconds:.1f} s")
        strike(name)
        try:
            time.sleep(seconds)
        finally:
            self.heal(name)

    def heal(self, name: str) -> None:
        self._machines.heal(name)
        agent = self.hosts.agents[name]
        if agent.process is None or agent.process.poll() is not None:
            agent.start()
        self.note(f"{name} is healed")

    def _die(self, name: str) -> None:
        self.hosts.agents[name].die()

    def _kill_server(self, _: str) -> None:
        self.hosts.server.kill()
        self.hosts.server.start()
