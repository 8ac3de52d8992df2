"""The exit status of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

# A thread of obstore's runtime returns a result, and still runs Python when the interpreter would be finalized.
SLOW_RUNTIME = """
import asyncio, sys, threading, time
returned = asyncio.BaseEventLoop.call_soon_threadsafe
def return_slowly(*args, **kwargs):
    handle = returned(*args, **kwargs)
    if isinstance(threading.current_thread(), threading._DummyThread):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pass
    return handle
asyncio.BaseEventLoop.call_soon_threadsafe = return_slowly
class Finalized:
    def __del__(self, sleep=time.sleep):
        sleep(1)
finalized = Finalized()
"""
OBSTORE = """
import obstore
from obstore.store import LocalStore
async def read():
    await obstore.get_async(LocalStore(prefix=sys.argv[1]), "secret.key")
asyncio.run(read())
"""
COMMAND = """
from cachewright.cli import main
main()
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.integration
def test_threads_of_libraries_do_not_change_the_exit_status(tmp_path: Path) -> None:
    key = tmp_path / "secret.key"
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)
    (tmp_path / "backups").mkdir()
    if sys.version_info < (3, 14):  # the fault is there to be prevented
        assert run(SLOW_RUNTIME + OBSTORE, str(tmp_path)).returncode == -6
    verified = run(SLOW_RUNTIME + COMMAND, "backups", "verify", "missing", "--data-dir", str(tmp_path))
    assert (verified.returncode, verified.stdout) == (1, "")
    assert verified.stderr.startswith("cachewright: ")
    assert verified.stderr.count("\n") == 1


@pytest.mark.unit
@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        ("return", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('refused')", 1, "refused\n"),
        ("raise CommandFailed('refused')", 1, "cachewright: refused\n"),
        ("raise UsageError('refused')", 2, "cachewright: refused\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_a_command_ends_with_its_status(ending: str, status: int, message: str) -> None:
    program = f"""
import sys
from cachewright.cli import commands
from cachewright.client.errors import CommandFailed, UsageError
def app(words):
    {ending}
commands.app = app
commands.main()
print("shown")
"""
    ended = run(program)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "shown\n", message)


@pytest.mark.integration
def test_a_reader_of_the_first_lines_alone_sees_no_traceback() -> None:
    many = f"print('x' * {2**20})"
    program = f"from cachewright.cli.commands import app, main\napp.command(lambda: {many}, name='write')\nmain()"
    with subprocess.Popen(
        [sys.executable, "-c", program, "write"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        ran.stdout.close()
        assert (ran.stderr.read(), ran.wait(60)) == (b"", 1)


@pytest.mark.unit
def test_an_unexpected_error_is_shown_and_fails() -> None:
    ended = run("from cachewright.cli import commands\ncommands.app = lambda words: 1 / 0\ncommands.main()")
    assert (ended.returncode, "ZeroDivisionError" in ended.stderr) == (1, True)
