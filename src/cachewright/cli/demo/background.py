"""Starts and controls the traffic process."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from cachewright.cli.demo.slot_client import Seed
from cachewright.cli.demo.wire import Line, Outcome, Stop, TrafficSpec, TrafficUpdate

_FIRST_PULSE_SECONDS = 30.0
_READ_BACK_SECONDS = 120.0
_NO_UPDATE = TrafficUpdate(operations=0, errors=0, longest_ms=0.0)


class TrafficEnded(Exception):
    """The traffic process ended unexpectedly; holds the last lines of its log."""


class Background:
    def __init__(self, spec: TrafficSpec, log: Path) -> None:
        """Start the traffic and wait for its first operations. Standard error goes to the log."""
        self._update = _NO_UPDATE
        self._outcome: Outcome | None = None
        self._begun = threading.Event()
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cachewright.cli.demo.traffic"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops its processes in order
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._send(spec)
            self._begun.wait(_FIRST_PULSE_SECONDS)
            if self._update is _NO_UPDATE:
                raise self._ended()
        except BaseException:
            self.close()
            raise

    def note(self) -> str:
        """Describe the current traffic in one line. TrafficEnded if its process has ended."""
        if self._process.poll() is not None:
            raise self._ended()
        update = self._update
        slowest = f"slowest now {update.longest_ms:.1f} ms"
        return f"clients: {update.operations:,} operations, {update.errors} errors, {slowest}"

    def stop(self, seed: Seed) -> Outcome:
        """Stop the traffic and wait until all its writes were read back."""
        self._send(Stop(seed=seed))
        self._reader.join(_READ_BACK_SECONDS)
        if self._outcome is None:
            raise self._ended()
        self._process.wait()
        return self._outcome

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._reader.join()
        with suppress(BrokenPipeError), self._process:
            pass  # closes the pipes

    def _read(self) -> None:
        for line in self._process.stdout or ():
            match msgspec.json.decode(line, type=Line):
                case TrafficUpdate() as update:
                    self._update = update
                case Outcome() as outcome:
                    self._outcome = outcome
            self._begun.set()
        self._begun.set()

    def _send(self, line: TrafficSpec | Stop) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(msgspec.json.encode(line) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as broken:
            raise self._ended() from broken

    def _ended(self) -> TrafficEnded:
        log = self._log.read_text(errors="replace").strip()
        return TrafficEnded(f"the traffic process ended: {log[-2000:]}")
