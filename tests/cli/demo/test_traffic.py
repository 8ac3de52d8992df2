"""Traffic on a real cluster: its record of writes, and the detection of lost ones."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
from valkey.client import Valkey
from valkey.cluster import ValkeyCluster
from valkey.crc import key_slot

from cachewright.cli.demo import latency
from cachewright.cli.demo.background import Background, TrafficEnded
from cachewright.cli.demo.content import DataSet, key
from cachewright.cli.demo.load import load
from cachewright.cli.demo.slot_client import Seed, SlotClient
from cachewright.cli.demo.wire import TrafficSpec
from cachewright.cli.demo.workload import ReadBack, Worker, WrongAnswer, read_back
from serving import until

DATA = DataSet(keys=100, expires_at=int(time.time()) + 3600, large_bytes=2000)
ROUNDS = 300


@pytest.fixture
def loaded(seed: Seed) -> Seed:
    with SlotClient(seed) as owners:
        load(owners, DATA, lambda _: None)
    return seed


@contextmanager
def cluster_client(seed: Seed) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(host=seed.host, port=seed.port, password=seed.password) as client:
        yield client


def node_client(node: Seed) -> Valkey:
    return Valkey(host=node.host, port=node.port, password=node.password)


@contextmanager
def busy(seed: Seed) -> Iterator[tuple[Worker, ValkeyCluster]]:
    """A worker that has done its work, and a client to spoil it with."""
    with cluster_client(seed) as client:
        worker = Worker(3, DATA)
        act(worker, client, ROUNDS)
        yield worker, client


def act(worker: Worker, client: ValkeyCluster, times: int) -> None:
    for _ in range(times):
        request = worker.next()
        request.accept(client.execute_command(*request.command))


def checked(seed: Seed, worker: Worker) -> ReadBack:
    with SlotClient(seed) as owners:
        return read_back(owners, [worker])


def spec(seed: Seed, rate: int = 300) -> TrafficSpec:
    return TrafficSpec(seed=seed, control=seed, data=DATA, operations_per_second=rate, workers=16)


def hand_over(slot: int, nodes: list[Seed]) -> None:
    """Move a slot key by key from its owner to another node: clients are redirected by ASK, then by MOVED."""
    with ExitStack() as stack:
        clients = [stack.enter_context(node_client(node)) for node in nodes]
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        rows = clients[0].execute_command("CLUSTER SLOTS")
        port = next(row[2][1] for row in rows if row[0] <= slot <= row[1])
        source = next(number for number, node in enumerate(nodes) if node.port == port)
        target = (source + 1) % len(nodes)
        clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        while names := clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            where = (nodes[target].host, nodes[target].port, "", 0, 5000)
            clients[source].execute_command("MIGRATE", *where, "AUTH", nodes[target].password, "KEYS", *names)
        for number in (target, source, 3 - target - source):
            clients[number].execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


class TestWorker:
    def test_all_that_was_acknowledged_is_there(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, _):
            assert checked(loaded, worker) == ReadBack(acknowledged=ROUNDS // 2, lost=0)

    def test_a_lost_write_is_found(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            client.delete("traffic:w:3:17")
            assert checked(loaded, worker) == ReadBack(acknowledged=ROUNDS // 2, lost=1, examples=("traffic:w:3:17",))

    def test_a_changed_write_is_found(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            client.append("traffic:w:3:17", "!")
            assert checked(loaded, worker).lost == 1

    def test_an_overwrite_that_fell_back_is_found(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            client.decr("traffic:o:3:5")
            assert checked(loaded, worker).lost == 1

    def test_each_lost_increment_is_found(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            name = next(client.scan_iter("traffic:c:3:*"))
            client.decrby(name, 2)
            assert checked(loaded, worker).lost == 2

    def test_a_counter_that_fell_back_is_a_wrong_answer(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            for name in client.scan_iter("traffic:c:3:*"):
                client.delete(name)
            with pytest.raises(WrongAnswer, match="counts 1 after"):
                act(worker, client, 10)

    def test_a_read_of_changed_data_is_a_wrong_answer(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            for number in range(DATA.keys):
                client.delete(key(number))
            with pytest.raises(WrongAnswer, match="data:"):
                act(worker, client, 10)

    def test_a_write_that_failed_is_not_counted(self, loaded: Seed) -> None:
        with busy(loaded) as (worker, client):
            client.execute_command("CONFIG SET", "maxmemory", "1", target_nodes="primaries")
            try:
                failed = 0
                for _ in range(20):
                    try:
                        act(worker, client, 1)
                    except Exception:
                        failed += 1
            finally:
                client.execute_command("CONFIG SET", "maxmemory", "0", target_nodes="primaries")
            assert failed
            assert checked(loaded, worker).lost == 0
            assert checked(loaded, worker).acknowledged < ROUNDS // 2 + 20


def operations(traffic: Background) -> int:
    return int(traffic.note().split()[1].replace(",", ""))


class TestProcess:
    def test_it_keeps_its_pace_and_reads_back(self, loaded: Seed, tmp_path: Path) -> None:
        with closing(Background(spec(loaded), tmp_path / "traffic.log")) as traffic:
            until(lambda: operations(traffic) > 600, "the traffic stands")
            assert ", 0 errors" in traffic.note()
            outcome = traffic.stop(loaded)
        assert (outcome.errors, outcome.wrong_answers, outcome.read_back.lost) == (0, 0, 0)
        assert outcome.read_back.acknowledged > 200
        due = sorted(
            sample.due for sample in latency.unpacked(outcome.samples) if sample.target is not latency.Target.CONTROL
        )
        assert len(due) / (due[-1] - due[0]) == pytest.approx(300, rel=0.2)
        assert (tmp_path / "traffic.log").read_text() == ""

    def test_a_lost_write_is_in_its_outcome(self, loaded: Seed, tmp_path: Path) -> None:
        with (
            closing(Background(spec(loaded), tmp_path / "traffic.log")) as traffic,
            cluster_client(loaded) as client,
        ):
            until(lambda: client.delete("traffic:w:0:0"), "nothing is written")
            outcome = traffic.stop(loaded)
        assert outcome.read_back.lost == 1

    def test_errors_are_counted_by_what_they_are(self, loaded: Seed, tmp_path: Path) -> None:
        with (
            closing(Background(spec(loaded), tmp_path / "traffic.log")) as traffic,
            cluster_client(loaded) as client,
        ):
            client.execute_command("CONFIG SET", "maxmemory", "1", target_nodes="primaries")
            until(lambda: ", 0 errors" not in traffic.note(), "nothing is refused")
            client.execute_command("CONFIG SET", "maxmemory", "0", target_nodes="primaries")
            outcome = traffic.stop(loaded)
        assert outcome.errors
        assert {failure.kind for failure in outcome.failures} == {"OOM"}
        assert outcome.read_back.lost == 0

    def test_it_follows_slots_that_move(self, loaded: Seed, cluster: list[Seed], tmp_path: Path) -> None:
        slots = sorted({key_slot(b"traffic:c:%d:%d" % (worker, number)) for worker in range(16) for number in range(4)})
        with closing(Background(spec(loaded, 1200), tmp_path / "traffic.log")) as traffic:
            for slot in slots:
                hand_over(slot, cluster)
            outcome = traffic.stop(loaded)
        assert (outcome.errors, outcome.failures, outcome.wrong_answers, outcome.read_back.lost) == (0, (), 0, 0)

    def test_it_repeats_requests_whose_connection_is_lost(
        self, loaded: Seed, cluster: list[Seed], tmp_path: Path
    ) -> None:
        with closing(Background(spec(loaded, 1200), tmp_path / "traffic.log")) as traffic:
            for node in (*cluster, *cluster):
                with node_client(node) as client:
                    client.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(0.1)
            outcome = traffic.stop(loaded)
        assert (outcome.errors, outcome.failures, outcome.wrong_answers, outcome.read_back.lost) == (0, (), 0, 0)

    def test_its_command_line_tells_no_secret(self, loaded: Seed, tmp_path: Path) -> None:
        with closing(Background(spec(loaded), tmp_path / "traffic.log")):
            lines = [child.cmdline() for child in psutil.Process().children()]
        [own] = [words for words in lines if "cachewright.cli.demo.traffic" in words]
        assert loaded.password not in " ".join(own)

    def test_it_ends_with_its_parent(self, loaded: Seed) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "cachewright.cli.demo.traffic"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        process.communicate(b"", timeout=60)
        assert process.returncode

    def test_a_cluster_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(TrafficEnded, match="Connection refused"):
            Background(spec(Seed("127.0.0.1", 1, None)), tmp_path / "traffic.log")
