"""Machines with addresses of their own: network namespaces that a bridge joins.

The machine `local` has the bridge. A thread that has entered a machine is there, with every thread and process that it
starts. Namespaces have no names, so two runs cannot collide, and each ends with the process that holds it. That is
`cat`, whose input ends when this process ends, also by a kill.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving import until

LOCAL = "local"
_NETWORK = "10.77.0"
NETWORK = f"{_NETWORK}.0/24"

_BRIDGE, _CABLE, _SLOW = "bridge", "cable", "slow"
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of setns(2)."""

_DROP = """
table bridge {name} {{
    chain passed {{ type filter hook forward priority 0; {port} "{name}" drop; }}
    chain local {{ type filter hook {hook} priority 0; {port} "{name}" drop; }}
}}
"""
_ALONE = """
table bridge {name} {{
    chain arriving {{ type filter hook input priority 0; policy drop; }}
    chain leaving {{ type filter hook output priority 0; policy drop; }}
}}
"""
_NO_DROP = """
table bridge {name} {{ }}
delete table bridge {name}
"""
_DIRECTIONS = {"sends": ("iifname", "input"), "receives": ("oifname", "output")}


@functools.cache
def missing() -> str | None:
    """Return why machines cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if absent := [name for name in ("unshare", "nsenter", "ip", "nft") if shutil.which(name) is None]:
        return f"{', '.join(absent)} is not installed"
    steps = (
        "ip link add probe type veth peer name other",
        f"ip link add {_BRIDGE} type bridge",
        "ip tuntap add probe mode tap",
        "nft add table bridge probe",
    )
    for step in steps:
        tried = subprocess.run(
            ["unshare", "--net", "--", *step.split()], capture_output=True, text=True, check=False, timeout=60
        )
        if tried.returncode:
            return f"the kernel refuses `{step}` in a network namespace: {tried.stderr.strip()}"
    return None


class Machine:
    """:ivar name: of the machine, and of the port of its cable on the bridge.
    :ivar inside: words before a command that runs there.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._mac = f"02:00:00:4d:00:{int(address.rpartition('.')[2]):02x}"
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        own = Path("/proc/thread-self/ns/net").readlink()
        until(lambda: self.namespace.readlink() != own, "there is no new network namespace")
        self.inside: Sequence[str] = ("nsenter", f"--net={self.namespace}", "--")
        self.run("ip link set lo up")

    @property
    def namespace(self) -> Path:
        return Path(f"/proc/{self._holder.pid}/ns/net")

    @property
    def pid(self) -> int:
        """A process on the machine."""
        return self._holder.pid

    def run(self, command: str, given: str | None = None) -> None:
        """Run a command there, with this input."""
        done = subprocess.run(
            [*self.inside, *command.split()], input=given, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr}"

    def use(self, device: str, *, instead_of: str | None = None) -> None:
        """Give the machine's addresses to a device. Others keep them in mind, so the MAC address does not change."""
        if instead_of:
            self.run(f"ip link set {instead_of} down")
            self.run(f"ip addr del {self.address}/24 dev {instead_of}")
        self.run(f"ip link set {device} address {self._mac} up")
        self.run(f"ip addr add {self.address}/24 dev {device}")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread on the machine inside the `with` block."""
        with ExitStack() as left:
            before = left.enter_context(Path("/proc/thread-self/ns/net").open("rb"))
            new = left.enter_context(self.namespace.open("rb"))
            _enter(new.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def end(self) -> None:
        """End the namespace, as soon as no process is left in it."""
        self._holder.communicate()


class Machines:
    """The machine `local`, and others on the same network, which can be cut off and slowed down."""

    def __init__(self, *names: str) -> None:
        self.by_name: dict[str, Machine] = {}
        self._slow: dict[str, subprocess.Popen[str]] = {}
        try:
            local = self.by_name[LOCAL] = Machine(LOCAL, f"{_NETWORK}.1")
            local.run(f"ip link add {_BRIDGE} type bridge")
            local.run(f"ip addr add {local.address}/24 dev {_BRIDGE}")
            local.run(f"ip link set {_BRIDGE} up")
            for number, name in enumerate(names, start=2):
                self._join(Machine(name, f"{_NETWORK}.{number}"))
        except BaseException:
            self.clean_up()
            raise

    def __getitem__(self, name: str) -> Machine:
        return self.by_name[name]

    def cut(self, name: str) -> None:
        """Unplug the cable of a machine: nothing leaves it, and nothing arrives. The others reach each other."""
        if name == LOCAL:  # which has the bridge
            self[LOCAL].run("nft -f -", _ALONE.format(name=name))
        else:
            self[LOCAL].run(f"ip link set {name} down")

    def silence(self, name: str) -> None:
        """Drop what a machine sends to others. What they send arrives."""
        self._drop(name, "sends")

    def deafen(self, name: str) -> None:
        """Drop what others send to a machine. What it sends arrives."""
        self._drop(name, "receives")

    def slow(self, name: str, seconds: float, loss: float) -> None:
        """Let each packet from and to a machine take this long, and lose a share of them. Connections stay open."""
        machine, far = self[name], f"{name}-far"
        program = Path(__file__).with_name("slow_link.py")
        words = (far, _SLOW, str(machine.namespace), str(seconds), str(loss))
        started = self._slow[name] = subprocess.Popen(
            [*self[LOCAL].inside, sys.executable, program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert started.stdout
        assert started.stdout.readline() == "connected\n"
        self[LOCAL].run(f"ip link set {far} master {_BRIDGE} up")
        machine.use(_SLOW, instead_of=_CABLE)

    def heal(self, name: str) -> None:
        """End `cut`, `silence`, `deafen` and `slow` of a machine."""
        self[LOCAL].run("nft -f -", _NO_DROP.format(name=name))
        if name != LOCAL:
            self[LOCAL].run(f"ip link set {name} up")
        if name in self._slow:
            self[name].use(_CABLE, instead_of=_SLOW)
            _end(self._slow.pop(name))

    def clean_up(self) -> None:
        for link in self._slow.values():
            _end(link)
        for machine in self.by_name.values():
            machine.end()

    def _join(self, machine: Machine) -> None:
        """Connect a machine to the bridge by a cable."""
        self.by_name[machine.name] = machine
        self[LOCAL].run(f"ip link add {machine.name} type veth peer name {_CABLE} netns {machine.pid}")
        self[LOCAL].run(f"ip link set {machine.name} master {_BRIDGE} up")
        machine.use(_CABLE)

    def _drop(self, name: str, what: str) -> None:
        port, hook = _DIRECTIONS[what]
        self[LOCAL].run("nft -f -", _DROP.format(name=name, port=port, hook=hook))


def _end(link: "subprocess.Popen[str]") -> None:
    link.communicate()


def _enter(namespace: int) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if system.setns(namespace, _NEW_NETWORK):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
