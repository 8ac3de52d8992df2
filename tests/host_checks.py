"""What must be true of tasks, instances and hosts while hosts fail, and afterwards."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException

from agents import Hosts
from caches import serves
from machines import missing
from sdk_calls import progress, show, unfinished
from serving import until

GET_OVER_SECONDS = 240


def require_machines() -> None:
    """Skip the test where machines cannot be made."""
    if reason := missing():
        pytest.skip(f"HOSTS ON A NETWORK ARE NOT TESTED: {reason}")


class Percents(threading.Thread):
    """Reads the percent of a task until `require_steady`. The server may be killed meanwhile.

    :ivar too_early: it was 100 while time remained.
    """

    def __init__(self, client: Any, instance_id: str, task_id: str) -> None:
        super().__init__(daemon=True)
        self._about = (client, instance_id, task_id)
        self._over = threading.Event()
        self.seen: list[int] = []
        self.too_early = False
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.2):
            with suppress(SdkException):
                shown = progress(*self._about)
                self.seen.append(shown.progress)
                self.too_early |= shown.progress == 100 and shown.remain_time > 0

    def require_steady(self) -> None:
        """The percent never went down, and was not 100 before the end."""
        self._over.set()
        self.join()
        assert self.seen
        assert self.seen == sorted(self.seen), self.seen
        assert not self.too_early, self.seen


def settled(client: Any, instance_id: str) -> None:
    until(lambda: not unfinished(client, instance_id), "tasks end", GET_OVER_SECONDS)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not usable", GET_OVER_SECONDS)
    until(lambda: serves(client, instance_id), "the cluster is not whole", GET_OVER_SECONDS)


def recorded_nodes(hosts: Hosts, name: str) -> set[str]:
    return {node["node_id"] for node in hosts.listed()[name]["nodes"]}


def running_nodes(hosts: Hosts, name: str) -> set[str]:
    """Ids of the nodes that run on a host: the names of their folders."""
    return {Path(process.cwd()).name for process in hosts.agents[name].nodes()}


def require_only_recorded(hosts: Hosts, name: str) -> None:
    """A host that is back has deleted nodes that were replaced, with their files, and runs the others."""
    until(lambda: hosts.listed()[name]["reporting"], f"{name} does not report")
    with psycopg.connect(hosts.url) as connection:
        stale = connection.execute("SELECT id FROM stale_nodes WHERE host_name = %s", [name]).fetchall()
    assert not stale
    until(lambda: running_nodes(hosts, name) == recorded_nodes(hosts, name), f"{name} runs other nodes than recorded")
    folders = {path.name for path in (hosts.agents[name].data_dir / "nodes").iterdir() if path.is_dir()}
    assert folders == recorded_nodes(hosts, name)
