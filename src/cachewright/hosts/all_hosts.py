"""All machines behind the port `Host`: the server's own, and those with an agent.

A method goes to the host that is recorded for the node, or that has the address. Proxies run on the machine of the
server. What all agents see of their processes comes with their reports.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from cachewright.hosts.agent_reports import AgentReports
from cachewright.hosts.all_processes import AllProcesses, AllSentinels
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.client_firewall import ClientFirewall
from cachewright.hosts.host import (
    CONFIG,
    LINKS,
    ChildProcess,
    Host,
    LogPart,
    LogPosition,
    MeasuredHost,
    Processes,
    ProcessInfo,
)
from cachewright.hosts.jobs import JobState
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.remote import HostCalls, RemoteHost, RemoteProcesses
from cachewright.hosts.resources import Resources
from cachewright.model.hosts import EMBEDDED, HostReport
from cachewright.store import hosts, sentinels
from cachewright.store.database import Database
from cachewright.threads import in_background


class AllHosts(AllProcesses):
    """Implements `Host`."""

    def __init__(self, local: Host, database: Database, calls: HostCalls) -> None:
        self._local = local
        self._database = database
        self._calls = calls
        self._reports = AgentReports(database)
        self._hosts_of_nodes: dict[str, str] = {}
        self._sentinels = AllSentinels(
            local.sentinels, self._host_of_sentinel, self._sentinels_of, self._reported_sentinels
        )

    @property
    def address(self) -> str:
        return self._local.address

    @property
    def nodes_dir(self) -> Path:
        return self._local.nodes_dir

    @property
    def sentinels(self) -> Processes:
        return self._sentinels

    @property
    def own_sentinels(self) -> Processes:
        return self._local.sentinels

    @property
    def sentinels_dir(self) -> Path:
        return self._local.sentinels_dir

    @property
    def proxies(self) -> Processes:
        return self._local.proxies

    @property
    def proxies_dir(self) -> Path:
        return self._local.proxies_dir

    @property
    def converters(self) -> Processes:
        return self._local.converters

    @property
    def converters_dir(self) -> Path:
        return self._local.converters_dir

    @property
    def gateways(self) -> Processes:
        return self._local.gateways

    @property
    def gateways_dir(self) -> Path:
        return self._local.gateways_dir

    @property
    def has_haproxy(self) -> bool:
        return self._local.has_haproxy

    @property
    def client_firewall(self) -> ClientFirewall | None:
        return self._local.client_firewall

    @property
    def cpus(self) -> int:
        return self._local.cpus

    async def processes(self) -> Mapping[str, ProcessInfo]:
        own = await self._local.processes()
        reports = await in_background(self._reports_of_nodes)
        reported = {host: report.processes for host, report in reports.items()}
        return {**own, **self._where_recorded(reported, self._hosts_of_nodes)}

    async def with_file(self, file: str) -> frozenset[str]:
        """Includes nodes on other hosts if `file` is their configuration or the folder of their write logs."""
        found = await self._local.with_file(file)
        if file not in {CONFIG, LINKS}:
            return found
        reports = await in_background(self._reports_of_nodes)
        return found.union(
            name
            for host, report in reports.items()
            for name in (report.configured if file == CONFIG else report.linked)
            if self._hosts_of_nodes.get(name) == host
        )

    async def remove(self, name: str, grace_seconds: float) -> None:
        await super().remove(name, grace_seconds)
        self._hosts_of_nodes.pop(name, None)

    async def write_folder(self, node_id: str, folder: str, files: Mapping[str, Iterable[bytes]]) -> None:
        await (await self._here(node_id)).write_folder(node_id, folder, files)

    async def create_folder(self, node_id: str, folder: str) -> None:
        await (await self._of(node_id)).create_folder(node_id, folder)

    async def exchange_folder(self, node_id: str, folder: str, *, new: str, former: str, grace_seconds: float) -> None:
        host = await self._of(node_id)
        await host.exchange_folder(node_id, folder, new=new, former=former, grace_seconds=grace_seconds)

    async def bring_back_folder(self, node_id: str, folder: str, *, former: str, grace_seconds: float) -> None:
        host = await self._of(node_id)
        await host.bring_back_folder(node_id, folder, former=former, grace_seconds=grace_seconds)

    async def delete_folders(self, node_id: str, *folders: str) -> None:
        await (await self._of(node_id)).delete_folders(node_id, *folders)

    async def link_files(self, node_id: str, files: Sequence[str], kept: Set[str], folder: str) -> Mapping[str, int]:
        return await (await self._here(node_id)).link_files(node_id, files, kept, folder)

    async def read_part(self, node_id: str, file: str, start: int, length: int) -> bytes:
        return await (await self._here(node_id)).read_part(node_id, file, start, length)

    async def begin_job(self, node_id: str, job_id: str, job: Mapping[str, Any]) -> None:
        await (await self._of(node_id)).begin_job(node_id, job_id, job)

    async def perform_job(self, node_id: str, job_id: str, job: Mapping[str, Any], within: float) -> JobState:
        return await (await self._of(node_id)).perform_job(node_id, job_id, job, within)

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState | None:
        return await (await self._of(node_id)).job_state(node_id, job_id, known_stage, within)

    async def steer_job(
        self, node_id: str, job_id: str, orders: Mapping[str, Any], known_stage: str, within: float
    ) -> JobState | None:
        return await (await self._of(node_id)).steer_job(node_id, job_id, orders, known_stage, within)

    async def release_job(self, node_id: str, job_id: str, offset: int) -> JobState | None:
        return await (await self._of(node_id)).release_job(node_id, job_id, offset)

    async def end_job(self, node_id: str, job_id: str) -> None:
        await (await self._of(node_id)).end_job(node_id, job_id)

    async def read_log(self, node_id: str, after: LogPosition | None) -> LogPart:
        return await (await self._of(node_id)).read_log(node_id, after)

    async def children(self, node_id: str) -> Sequence[ChildProcess]:
        return await (await self._of(node_id)).children(node_id)

    async def end_child(self, node_id: str, child: ChildProcess, grace_seconds: float) -> bool:
        return await (await self._of(node_id)).end_child(node_id, child, grace_seconds)

    def addresses(self, usual: str) -> Iterator[str]:
        if self._at(usual) is self._local:
            return self._local.addresses(usual)
        return iter((usual,))

    def find_ports(self, address: str, count: int, taken: Set[int], *, tls: bool) -> list[NodePorts]:
        return self._at(address).find_ports(address, count, taken, tls=tls)

    def is_port_free(self, address: str, port: int) -> bool:
        return self._at(address).is_port_free(address, port)

    def hold_port(self, address: str, port: int) -> None:
        """No effect on other hosts: an agent shares its machine with no other server."""
        if self._other_at(address) is None:
            self._local.hold_port(address, port)

    def release_port(self, address: str, port: int) -> None:
        if self._other_at(address) is None:
            self._local.release_port(address, port)

    def resources(self) -> Resources:
        """The sums over all hosts."""
        found = [measured.resources for measured in self.measured().values()]
        return Resources(
            memory=sum(each.memory for each in found),
            memory_free=sum(each.memory_free for each in found),
            disk_free=sum(each.disk_free for each in found),
        )

    def own_resources(self) -> Resources:
        return self._local.resources()

    def measured(self) -> Mapping[str, MeasuredHost]:
        found = dict(self._local.measured()) if self._database.claim.is_held else {}
        for name, (address, report) in self._reports.all(alive=True).items():
            resources = Resources(memory=report.memory, memory_free=report.memory_free, disk_free=report.disk_free)
            found[name] = MeasuredHost(
                address,
                resources,
                report.tls,
                gateways=report.gateways,
                runs_temporary_nodes=report.runs_temporary_nodes,
            )
        return found

    def server_versions(self) -> Sequence[str]:
        """The versions that all hosts can run; those of this machine if there are none."""
        own, reports = self._local.server_versions(), self._reports.all().values()
        common = [version for version in own if all(version in report.server_versions for _, report in reports)]
        return common or own

    def supports_tls(self) -> bool:
        return self._local.supports_tls()

    async def _of(self, name: str) -> Host | RemoteHost:
        """Return the host of a node; the machine of the server if the node is not recorded. Raises DatabaseUnavailable
        for a node of another machine in a server that another one may have replaced."""
        host_name = self._hosts_of_nodes.get(name)
        if host_name is None:
            host_name = await in_background(self._host_of, name)
        if host_name == EMBEDDED:
            return self._local
        self._database.claim.require()
        return self._remote(host_name)

    async def _here(self, name: str) -> Host:
        """Return the machine of the server. Raises HostSilent for a node of another host: no operation replaces its
        folders there."""
        if isinstance(await self._of(name), RemoteHost):
            raise HostSilent(f"data of node {name}, which is on another host, cannot be replaced")
        return self._local

    def _host_of(self, node_id: str) -> str:
        with self._database.read() as connection:
            name = hosts.of_node(connection, node_id)
        if name is None:
            return EMBEDDED
        self._hosts_of_nodes[node_id] = name
        return name

    def _host_of_sentinel(self, sentinel_id: str) -> str | None:
        with self._database.read() as connection:
            return sentinels.host_of(connection, sentinel_id)

    def _sentinels_of(self, name: str) -> RemoteProcesses:
        self._database.claim.require()
        latest, ahead = partial(self._reports.latest, name), partial(self._reports.clock_ahead, name)
        return RemoteProcesses(name, self._calls, latest, ahead, "sentinels")

    def _reported_sentinels(self) -> Mapping[str, ProcessInfo]:
        """Return those that run where they are recorded. The last report of a lost host names one that has another host
        now."""
        with self._database.read() as connection:
            places = sentinels.places(connection)
        reported = {host: report.sentinels for host, (_, report) in self._reports.all().items()}
        return self._where_recorded(reported, places)

    def _where_recorded(
        self, reported: Mapping[str, Mapping[str, tuple[int, float]]], places: Mapping[str, str]
    ) -> dict[str, ProcessInfo]:
        """Return the reported processes that run where they are recorded, with times of the clock of this machine.

        :param reported: processes by name, by the host that reports them.
        :param places: the recorded hosts, by name of the process.
        """
        ahead = {host: self._reports.clock_ahead(host) for host in reported}
        return {
            name: ProcessInfo(pid, started_at - ahead[host])
            for host, processes in reported.items()
            for name, (pid, started_at) in processes.items()
            if places.get(name) == host
        }

    def _remote(self, name: str) -> RemoteHost:
        latest, ahead = partial(self._reports.latest, name), partial(self._reports.clock_ahead, name)
        return RemoteHost(name, self._calls, latest, ahead)

    def _at(self, address: str) -> Host | RemoteHost:
        self._reports.refresh()
        name = self._other_at(address)
        return self._local if name is None else self._remote(name)

    def _other_at(self, address: str) -> str | None:
        """Return the name of the other host with this address; None for that of the server. Does not block."""
        return None if address == self._local.address else self._reports.host_at(address)

    def _reports_of_nodes(self) -> dict[str, HostReport]:
        """Return the latest report of each other host, and learn the hosts of the nodes in them: what an agent says of
        nodes of other hosts has no effect. Blocks."""
        reports = {name: report for name, (_, report) in self._reports.all().items()}
        reported = {node_id for report in reports.values() for node_id in (*report.processes, *report.configured)}
        if reported - self._hosts_of_nodes.keys():
            with self._database.read() as connection:
                self._hosts_of_nodes |= hosts.by_node(connection)
        return reports
