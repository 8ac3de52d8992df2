"""The traffic process as the demo sees it."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from cachewright.cli.demo.owners import Seed
from cachewright.cli.demo.wire import Line, Outcome, Pulse, Stop, TrafficSpec

_FIRST_PULSE_SECONDS = 30.0
_READ_BACK_SECONDS = 120.0
_NOTHING_YET = Pulse(operations=0, errors=0, longest_ms=0.0)


class TrafficEnded(Exception):
    """The traffic process ended by itself, with the last lines it said."""


class Background:
    def __init__(self, orders: TrafficSpec, log: Path) -> None:
        """Returns when traffic is under way. What the process says of errors goes to the log."""
        self._pulse = _NOTHING_YET
        self._outcome: Outcome | None = None
        self._begun = threading.Event()
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cachewright.cli.demo.traffic"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the demo, which stops it in its own order
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._say(orders)
            self._begun.wait(_FIRST_PULSE_SECONDS)
            if self._pulse is _NOTHING_YET:
                raise self._ended()
        except BaseException:
            self.close()
            raise

    def note(self) -> str:
        """How the traffic is right now, in one line. TrafficEnded where there is none any more."""
        if self._process.poll() is not None:
            raise self._ended()
        pulse = self._pulse
        return f"clients: {pulse.operations:,} operations, {pulse.errors} errors, longest now {pulse.longest_ms:.1f} ms"

    def stop(self, seed: Seed) -> Outcome:
        """Ends the traffic and waits until all it wrote has been read back."""
        self._say(Stop(seed=seed))
        self._reader.join(_READ_BACK_SECONDS)
        if self._outcome is None:
            raise self._ended()
        self._process.wait()
        return self._outcome

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._reader.join()
        with suppress(BrokenPipeError), self._process:
            pass  # closes the pipes

    def _read(self) -> None:
        for line in self._process.stdout or ():
            match msgspec.json.decode(line, type=Line):
                case Pulse() as pulse:
                    self._pulse = pulse
                case Outcome() as outcome:
                    self._outcome = outcome
            self._begun.set()
        self._begun.set()

    def _say(self, line: TrafficSpec | Stop) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(msgspec.json.encode(line) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as broken:
            raise self._ended() from broken

    def _ended(self) -> TrafficEnded:
        said = self._log.read_text(errors="replace").strip()
        return TrafficEnded(f"the traffic process ended: {said[-2000:]}")
