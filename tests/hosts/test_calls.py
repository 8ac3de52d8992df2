"""Calls to agents: what is encrypted, what is performed, what is refused."""

import asyncio
import errno
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from dbos._error import DBOSWorkflowCancelledError
from dbos._serialization import DefaultSerializer

from cachewright import agent
from cachewright.config import Settings
from cachewright.hosts import remote
from cachewright.hosts.calls import (
    CHANGING,
    FENCED,
    METHODS,
    MOST_ANSWER_BYTES,
    Answer,
    Call,
    HostSilent,
    decode_answer,
    encode_answer,
    perform,
)
from cachewright.hosts.envelopes import AgentKey, WrongEnvelope, seal
from cachewright.hosts.host import LogPart, NodeStartFailed, ProcessInfo
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.remote import HostCalls, HostQueue, RemoteHost
from cachewright.model.hosts import HostReport
from cachewright.store.workflow_values import read
from database_fixtures import a_report, migrated

SECRET = "requirepass Very-secret-1"


def performed(
    folder: Path,
    method: str,
    *,
    recorded: bool = True,
    seconds: float = 60,
    epoch: int | None = 2,
    **arguments: Any,
) -> Answer:
    """The answer to a call of a server with this epoch, when the present one is 2."""
    call = Call(method=method, arguments=arguments, expires_at=time.time() + seconds, epoch=epoch)
    host = LocalHost(Settings(data_dir=folder))
    answer = asyncio.run(perform(host, call, lambda *_: recorded, lambda: 2))
    return msgspec.json.decode(msgspec.json.encode(answer), type=Answer)


def test_a_call_is_read_by_its_agent_alone_and_its_answer_by_its_caller(tmp_path: Path) -> None:
    key, other = AgentKey(tmp_path / "key"), AgentKey(tmp_path / "other")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert AgentKey(tmp_path / "key").public == key.public
    sealed, envelope = seal(key.public, SECRET.encode())
    assert SECRET not in sealed
    assert seal(key.public, SECRET.encode())[0] != sealed
    opened, of_agent = key.open(sealed)
    assert opened.decode() == SECRET
    answer = of_agent.seal_answer(SECRET.encode())
    assert envelope.open_answer(answer).decode() == SECRET
    with pytest.raises(WrongEnvelope):
        other.open(sealed)
    with pytest.raises(WrongEnvelope):
        seal(key.public, b"")[1].open_answer(answer)


def test_calls_have_typed_arguments_and_results(tmp_path: Path) -> None:
    files = {"valkey.conf": SECRET}
    performed(tmp_path, "write_files", name="n", files=files).value(None)
    assert performed(tmp_path, "has_file", name="n", file="valkey.conf").value(bool) is True
    assert performed(tmp_path, "read_file", name="n", file="valkey.conf").value(str | None) == SECRET
    assert performed(tmp_path, "process", name="n").value(Any) is None
    assert performed(tmp_path, "read_log", node_id="n", after=None).value(LogPart).lines == ()
    ports = performed(tmp_path, "find_ports", address="127.0.0.1", count=2, taken=[10240], tls=False)
    assert len(ports.value(list[NodePorts])) == 2
    performed(tmp_path, "remove", name="n", grace_seconds=1).value(None)
    assert performed(tmp_path, "has_file", name="n", file="valkey.conf").value(bool) is False


def test_errors_arrive_as_themselves(tmp_path: Path) -> None:
    with pytest.raises((NodeStartFailed, OSError)):
        performed(tmp_path, "start", name="n").value(None)


@pytest.mark.parametrize("method", sorted(FENCED))
def test_a_node_that_is_not_recorded_here_is_not_touched(tmp_path: Path, method: str) -> None:
    (tmp_path / "nodes" / "n").mkdir(parents=True)
    (tmp_path / "nodes" / "n" / "data").write_text("kept")
    argument = "node_id" if method in {"read_log", "children", "end_child"} else "name"
    with pytest.raises(HostSilent, match="is not recorded on this host"):
        performed(tmp_path, method, recorded=False, **{argument: "n"}).value(None)
    assert (tmp_path / "nodes" / "n" / "data").read_text() == "kept"


def test_a_file_of_a_node_is_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "agent.key").write_text("secret")
    for method, arguments in (("read_file", {"file": "../../agent.key"}), ("write_files", {"files": {"../x": "y"}})):
        with pytest.raises(HostSilent, match="is not in its folder"):
            performed(tmp_path, method, name="n", **arguments).value(None)
    assert not (tmp_path / "nodes").exists()


@pytest.mark.parametrize("epoch", [1, None], ids=["replaced", "request"])
@pytest.mark.parametrize("method", sorted(CHANGING))
def test_a_server_that_does_not_perform_tasks_changes_nothing(tmp_path: Path, method: str, epoch: int | None) -> None:
    (tmp_path / "nodes" / "n").mkdir(parents=True)
    (tmp_path / "nodes" / "n" / "data").write_text("kept")
    argument = "node_id" if method == "end_child" else "name"
    with pytest.raises(HostSilent, match="was replaced"):
        performed(tmp_path, method, epoch=epoch, **{argument: "n"}).value(None)
    assert (tmp_path / "nodes" / "n" / "data").read_text() == "kept"


@pytest.mark.parametrize("epoch", [2, 3], ids=["present", "next"])
def test_the_server_that_performs_tasks_is_obeyed_and_others_read(tmp_path: Path, epoch: int) -> None:
    performed(tmp_path, "write_files", epoch=epoch, name="n", files={"a": "b"}).value(None)
    for reader in (1, None):
        assert performed(tmp_path, "read_file", epoch=reader, name="n", file="a").value(str) == "b"


def test_an_expired_or_unknown_call_is_not_performed(tmp_path: Path) -> None:
    assert "processes" not in METHODS
    with pytest.raises(HostSilent, match="expired"):
        performed(tmp_path, "write_files", seconds=-1, name="n", files={"a": "b"}).value(None)
    with pytest.raises(HostSilent, match="no method"):
        performed(tmp_path, "__init__").value(None)
    assert not (tmp_path / "nodes").exists()


def test_an_agent_of_an_earlier_release_refuses_an_argument_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(HostSilent, match="no argument 'later' of 'has_file'; upgrade it"):
        performed(tmp_path, "has_file", name="n", file="valkey.conf", later=1).value(bool)


def test_an_answer_that_is_too_large_is_a_refusal() -> None:
    call = Call(method="read_file", arguments={}, expires_at=0)
    assert decode_answer(encode_answer(call, Answer(result="x"))).value(str) == "x"
    large = Answer(result="x" * MOST_ANSWER_BYTES)
    with pytest.raises(HostSilent, match=r"the answer to 'read_file' has 2\d{6} bytes, more than 2097152"):
        decode_answer(encode_answer(call, large)).value(str)
    with pytest.raises(HostSilent, match="more than 2097152"):  # of an agent that does not know the limit
        decode_answer(msgspec.json.encode(large))


def report_of(key: AgentKey) -> HostReport:
    return a_report(public_key=key.public)


async def test_an_agent_looks_after_its_disk_also_when_that_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: asyncio.Queue[Path] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def fail(nodes_dir: Path) -> str | None:
        loop.call_soon_threadsafe(looked.put_nowait, nodes_dir)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(agent, "delete_links_when_full", fail)
    monkeypatch.setattr(agent, "_DISK_SECONDS", 0.01)
    settings = Settings(data_dir=tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    watching = asyncio.create_task(agent.Agent("h2", settings)._watch_disk())
    try:
        for _ in range(3):
            async with asyncio.timeout(60):
                assert await looked.get() == tmp_path / "nodes"
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class Calls(HostCalls):
    """Calls to an agent that answers all of them with one process, and keeps the last one."""

    epoch = 3

    def __init__(self, key: AgentKey) -> None:
        self._key = key
        self.public_key = key.public
        self.call: Call

    def queue(self, host_name: str, report: HostReport) -> Any:
        assert report.public_key == self.public_key
        return self

    def enqueue(self, partition: str, sealed: str) -> str:
        return sealed

    async def answer(self, call_id: str) -> str:
        text, envelope = self._key.open(call_id)
        self.call = msgspec.json.decode(text, type=Call)
        return envelope.seal_answer(msgspec.json.encode(Answer(result=ProcessInfo(7, 1100.0))))


async def test_times_are_converted_between_the_clocks_of_two_machines(tmp_path: Path) -> None:
    key = AgentKey(tmp_path / "key")
    calls = Calls(key)
    host = RemoteHost("h2", calls, lambda: report_of(key), lambda: 100.0)
    assert await host.process("n") == ProcessInfo(7, 1000.0)
    assert calls.call.expires_at > time.time() + 100
    assert calls.call.epoch == 3
    for change in (host.restart, host.set_aside):
        with suppress(msgspec.ValidationError):  # the answer is that of another method
            await change("n", 1000.0, 1)
        assert calls.call.arguments["not_before"] == 1100.0


class CallsWithoutAnswer(Calls):
    """Calls to an agent that has just died."""

    async def answer(self, call_id: str) -> str:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("method", ["stop", "remove"])
async def test_an_end_is_not_awaited_from_a_host_that_stops_reporting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(remote, "_LOOK_SECONDS", 0.01)
    key, looks = AgentKey(tmp_path / "key"), iter(range(4))

    def latest() -> HostReport:
        if next(looks) < 3:
            return report_of(key)
        raise HostSilent("host h2 does not report")

    host = RemoteHost("h2", CallsWithoutAnswer(key), latest, lambda: 0.0)
    with pytest.raises(HostSilent, match="does not report"):
        await asyncio.wait_for(getattr(host, method)("n", 60), 60)


class StoredError:
    """DBOS's handle of a call, with an error that an agent has stored."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def get_result(self, **_: Any) -> Any:
        raise read(DefaultSerializer().serialize(self._error))


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), DBOSWorkflowCancelledError("c"), KeyError("k"), SystemExit()],
    ids=lambda error: type(error).__name__,
)
async def test_what_an_agent_stores_as_an_error_is_a_refusal_of_the_call(tmp_path: Path, error: BaseException) -> None:
    async def retrieve(_: str) -> Any:
        return StoredError(error)

    client: Any = SimpleNamespace(retrieve_workflow_async=retrieve)
    database, ended = migrated(f"sqlite:///{tmp_path / 'test.db'}"), Future[None]()
    ended.set_result(None)
    queue = HostQueue(database, lambda: client, "v", "h2", "key", end=lambda _: ended)
    with pytest.raises(HostSilent, match="a call failed"):
        await queue.answer("id")
    database.close()
