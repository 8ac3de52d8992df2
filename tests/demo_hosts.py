"""`make demo-hosts`: a cluster on three hosts is scaled under traffic, and one of the hosts dies in the middle.

Each host is a real agent, and shares a real PostgreSQL with the server. It is in a network namespace of its own where
that can be made, and has a loopback address of its own elsewhere. Exits with 1 if a check fails.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from agents import Hosts
from caches import cache, load, present
from distant_hosts import distant_hosts
from machines import LOCAL, missing
from postgres_server import PostgresServer
from sdk_calls import ENDED, created, gone, progress, resize, show, tasks_of, unfinished
from serving import until
from traffic import Traffic

VICTIM = "h4"
LAG_SECONDS = 2.0
"""Writes of the last moments before its death may not have left a primary: replication is asynchronous."""

CONSOLE = Console()
_PATIENCE_SECONDS = 600
_CLIENTS = 4
_HOSTS = 3
_OPTIONS = ("--host-rebuild-seconds", "0")


class Checks:
    """Prints each check, and remembers whether one has failed."""

    def __init__(self) -> None:
        self.failed = 0

    def see(self, what: str, passed: bool, found: object = "") -> None:
        self.failed += not passed
        say(f"  {'ok    ' if passed else 'FAILED'} {what}{f': {found}' if found != '' else ''}")


def say(line: str) -> None:
    CONSOLE.print(line, markup=False, highlight=False, soft_wrap=True)


def watched(client: Any, instance_id: str, task_id: str, until_percent: int = 100) -> tuple[str, list[int]]:
    """Follow a task to this percent or to its end. Return its status, and its percents."""
    percents: list[int] = []

    def reached() -> Any:
        percents.append(progress(client, instance_id, task_id).progress or 0)
        row = next(row for row in tasks_of(client, instance_id) if row.id == task_id)
        return row.status if row.status in ENDED or percents[-1] >= until_percent < 100 else None

    return until(reached, f"task {task_id} neither reaches the percent nor ends", _PATIENCE_SECONDS), percents


def come_back(hosts: Hosts, client: Any, instance_id: str, checks: Checks) -> None:
    """The host returns, deletes its old nodes and gets others."""
    agent = hosts.agents[VICTIM]
    agent.start()
    until(lambda: hosts.listed()[VICTIM]["reporting"], f"{VICTIM} reports")
    left = [folder for folder in (agent.data_dir / "nodes").iterdir() if folder.is_dir()]
    checks.see(f"{VICTIM} comes back, and has deleted its old nodes", not left and not agent.nodes())
    say(hosts.run("hosts", "rebalance", "--apply").rstrip())
    until(lambda: hosts.listed()[VICTIM]["node_count"] > 0, f"nodes move to {VICTIM}", _PATIENCE_SECONDS)
    until(lambda: not unfinished(client, instance_id), "tasks end", _PATIENCE_SECONDS)
    moves = [row.status for row in tasks_of(client, instance_id) if row.name == "MoveNodes"]
    checks.see("nodes move to the host that is back", moves[0] == "SUCCESS", hosts.places(instance_id))


def demonstrate(hosts: Hosts, keys: int, checks: Checks) -> None:
    client = hosts.server.client()
    hosts.run("hosts", "cordon", "local")
    instance_id = created(client, 3, copies=2)
    say(f"A cluster of 3 shards with replicas on {', '.join(hosts.agents)}: {hosts.places(instance_id)}")
    checks.see("copies of each shard are on two hosts", _apart(hosts, instance_id, 3))
    load(cache(client, instance_id), keys)
    shown = show(client, instance_id)
    clients = [Traffic(number, shown.port, host=shown.ip) for number in range(_CLIENTS)]
    for traffic in clients:
        traffic.start()
    until(lambda: all(traffic.writes for traffic in clients), "clients write")

    task_id = resize(client, instance_id, 5, copies=2)
    _, before = watched(client, instance_id, task_id, until_percent=30)
    hosts.agents[VICTIM].die()
    died_at = time.monotonic()
    say(f"Scaling to 5 shards, at {before[-1]} %: host {VICTIM} dies, with its agent and its nodes")
    status, after = watched(client, instance_id, task_id)
    say(f"The task ends {status}, {time.monotonic() - died_at:.0f} s after that")
    until(lambda: hosts.listed()[VICTIM]["node_count"] == 0, "its nodes are replaced", _PATIENCE_SECONDS)
    say(f"All nodes of {VICTIM} are replaced, {time.monotonic() - died_at:.0f} s after its death")
    until(lambda: not unfinished(client, instance_id), "tasks end", _PATIENCE_SECONDS)
    if status != "SUCCESS":
        answer, _ = hosts.server.call("POST", f"instances/{instance_id}/tasks/{task_id}/retry")
        checks.see("the task is retried", answer < 300, answer)
        status, _ = watched(client, instance_id, task_id)
    checks.see("the cluster is scaled", status == "SUCCESS", status)
    percents = [*before, *after]
    checks.see("its percent never went down", percents == sorted(percents))
    checks.see("copies of each shard are on two hosts", _apart(hosts, instance_id, 5), hosts.places(instance_id))

    come_back(hosts, client, instance_id, checks)

    caches = cache(client, instance_id)
    for traffic in clients:
        traffic.finish(caches)
    losses = [loss for traffic in clients for loss in traffic.losses]
    unexpected = [loss for loss in losses if not died_at - LAG_SECONDS < loss.at <= died_at]
    writes = sum(traffic.writes for traffic in clients)
    checks.see(
        "no acknowledged write is lost, except those that had not left the dead primary",
        not unexpected,
        f"{writes:,} writes, {len(losses)} of the last moments before its death are missing",
    )
    found = present(caches, keys)
    checks.see("all loaded keys are there", found == keys, f"{found:,} of {keys:,}")
    checks.see("the instance is RUNNING", show(client, instance_id).status == "RUNNING")
    hosts.server.call("DELETE", f"instances/{instance_id}")
    until(lambda: gone(client, instance_id), "the instance is deleted")
    checks.see("no node process is left", not any(agent.nodes() for agent in hosts.agents.values()))


def _apart(hosts: Hosts, instance_id: str, shards: int) -> bool:
    found = hosts.places(instance_id)
    return len(found) == shards and all(len(set(names)) == len(names) == 2 for names in found.values())


@contextmanager
def loopback_hosts(folder: Path) -> Iterator[Hosts]:
    postgres = PostgresServer()
    try:
        postgres.start()
        hosts = Hosts(postgres.new_database(), folder, (LOCAL,) * _HOSTS, *_OPTIONS)
        try:
            yield hosts
        finally:
            hosts.clean_up()
    finally:
        postgres.clean_up()


@contextmanager
def hosts_on_machines(folder: Path) -> Iterator[Hosts]:
    with distant_hosts(folder, _HOSTS, *_OPTIONS) as (_, hosts):
        yield hosts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=50_000, help="keys to load")
    keys = parser.parse_args().keys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))  # which also stops what it has started
    checks, reason = Checks(), missing()
    place = f"on loopback addresses, because {reason}" if reason else "in network namespaces of their own"
    say(f"Three hosts {place}")
    with tempfile.TemporaryDirectory(prefix="cachewright-demo-hosts-") as folder:
        started = loopback_hosts if reason else hosts_on_machines
        with started(Path(folder)) as hosts:
            demonstrate(hosts, keys, checks)
    say("All checks passed." if not checks.failed else f"{checks.failed} checks failed.")
    return bool(checks.failed)


if __name__ == "__main__":
    sys.exit(main())
