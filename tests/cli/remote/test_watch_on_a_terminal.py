"""`cachewright tasks watch` as a person sees it: through a pseudo-terminal, with the screen read back."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

from caches import cache, load
from sdk_calls import created, ended, newest_task, progress, resize
from serving import Server

COLUMNS, LINES = 80, 30
PATIENCE_SECONDS = 60


class Terminal:
    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        os.set_blocking(self._side, False)
        self.process = subprocess.Popen(
            # A shell's background jobs ignore Ctrl-C, and so would what the tests start when they are one.
            ["env", "--default-signal=INT", *command],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        os.close(other)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self) -> None:
        while True:
            try:
                said = os.read(self._side, 65536)
            except OSError:  # nothing more for now, or nobody is there any more
                return
            if not said:
                return
            self._stream.feed(said)

    def until_shown(self, *words: str) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(word in self.text for word in words):
            assert time.monotonic() < deadline, f"{words} not shown:\n{self.text}"
            time.sleep(0.02)
            self.read()
        return self.text

    def ended(self) -> int:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
            self.read()
            time.sleep(0.02)
        self.read()
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._side)


@pytest.fixture
def scaling(own_server: Server) -> tuple[Any, str, str]:
    """A client, an instance with keys, and the task that scales it, held back to one range at a time."""
    client = own_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), 100_000)
    task_id = resize(client, instance_id, 4)
    status, _ = own_server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "paused"})
    assert status == 200
    return client, instance_id, task_id


@pytest.fixture
def terminal(own_server: Server, scaling: tuple[Any, str, str], tmp_path: Path) -> Iterator[Terminal]:
    environment = {**os.environ, "TERM": "xterm-256color", "CACHEWRIGHT_DATA_DIR": str(own_server.data_dir)}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path), "LANG": "C.UTF-8", "COLUMNS": "", "LINES": ""}
    opened = Terminal([sys.executable, "-m", "cachewright", "tasks", "watch"], environment, tmp_path)
    yield opened
    opened.close()


def let_go(server: Server, scaling: tuple[Any, str, str]) -> None:
    _, instance_id, task_id = scaling
    server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "running"})


def test_a_scale_is_watched_to_its_end(own_server: Server, scaling: tuple[Any, str, str], terminal: Terminal) -> None:
    client, instance_id, task_id = scaling
    shown = terminal.until_shown("EXTEND", task_id[-8:], "Data migration.", "Slot migration.", " %", "s left")
    assert all(len(line) <= COLUMNS for line in shown.splitlines())
    let_go(own_server, scaling)
    terminal.until_shown("100 %", f"EXTEND {task_id} SUCCESS")
    assert terminal.ended() == 0
    assert terminal.text.count(task_id[-8:]) == 2, "the picture is drawn over, not again and again"
    assert progress(client, instance_id, task_id).progress == 100
    assert "keys" in terminal.text


def test_it_goes_on_when_the_server_was_away(
    own_server: Server, scaling: tuple[Any, str, str], terminal: Terminal
) -> None:
    client, instance_id, task_id = scaling
    terminal.until_shown(task_id[-8:])
    own_server.kill()
    terminal.until_shown("retrying")
    own_server.start()
    let_go(own_server, scaling)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert terminal.ended() == 0
    assert "SUCCESS" in terminal.text


def test_it_is_left_by_ctrl_c_and_the_task_goes_on(
    own_server: Server, scaling: tuple[Any, str, str], terminal: Terminal
) -> None:
    client, instance_id, task_id = scaling
    terminal.until_shown(task_id[-8:])
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.ended() == 130
    assert "Traceback" not in terminal.text
    let_go(own_server, scaling)
    assert newest_task(client, instance_id).id == task_id
    assert ended(client, instance_id, task_id).status == "SUCCESS"
