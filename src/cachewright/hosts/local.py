"""This machine, with the processes of its nodes."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from cachewright.config import Settings
from cachewright.hosts import log_files, node_environment, node_folders, resources
from cachewright.hosts.addresses import node_addresses
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.child_processes import children_of, end_child
from cachewright.hosts.client_firewall import ClientFirewall
from cachewright.hosts.held_ports import HeldPorts
from cachewright.hosts.host import SERVER_VERSION, ChildProcess, LogPart, LogPosition, MeasuredHost, NodeStartFailed
from cachewright.hosts.jobs import Jobs, JobState
from cachewright.hosts.local_processes import LocalProcesses
from cachewright.hosts.ports import NodePorts, find_node_ports, is_free
from cachewright.hosts.programs import HAPROXY, NODE, SENTINEL
from cachewright.hosts.resources import Resources
from cachewright.hosts.server_binary import has_tls, servers_by_version
from cachewright.model.hosts import EMBEDDED
from cachewright.threads import in_background

log = logging.getLogger(__name__)


def client_firewall(settings: Settings) -> ClientFirewall | None:
    """Return the rules of this machine for clients; None if the operator does not allow them."""
    nft = settings.nft_binary
    return None if nft is None else ClientFirewall(nft, settings.data_dir, os.geteuid())


class LocalHost(LocalProcesses):
    """Implementation of `Host` for this machine."""

    def __init__(self, settings: Settings, jobs: Jobs | None = None) -> None:
        """:param jobs: that an agent performs. The server performs the same work without jobs."""

        def of_valkey(binary: Path) -> Mapping[str, str]:
            return node_environment.variables(binary, settings.jemalloc)

        def default(_: str) -> Path:
            return settings.valkey_binary

        def converter(name: str) -> Path:
            return self._server_in(settings.converters_dir / name)

        def haproxy(_: str) -> Path:
            if settings.haproxy_binary is None:
                raise NodeStartFailed("HAProxy is not installed, or is off")
            return settings.haproxy_binary

        def of_haproxy(_: Path) -> Mapping[str, str]:
            return node_environment.plain()

        super().__init__(settings.nodes_dir, NODE, self._server_of, of_valkey)
        self._settings = settings
        self._nodes_dir = settings.nodes_dir  # asked for each instance in each round
        self._jobs = jobs
        self._held_ports = HeldPorts()
        self._sentinels = LocalProcesses(settings.sentinels_dir, SENTINEL, default, of_valkey)
        self._converters = LocalProcesses(settings.converters_dir, NODE, converter, of_valkey)
        self._proxies = LocalProcesses(settings.proxies_dir, HAPROXY, haproxy, of_haproxy)
        self._gateways = LocalProcesses(settings.gateways_dir, NODE, default, of_valkey)
        self._client_firewall = client_firewall(settings)

    @property
    def address(self) -> str:
        return self._settings.node_host

    @property
    def nodes_dir(self) -> Path:
        return self._nodes_dir

    @property
    def sentinels(self) -> LocalProcesses:
        return self._sentinels

    @property
    def own_sentinels(self) -> LocalProcesses:
        return self._sentinels

    @property
    def sentinels_dir(self) -> Path:
        return self._settings.sentinels_dir

    @property
    def proxies(self) -> LocalProcesses:
        return self._proxies

    @property
    def proxies_dir(self) -> Path:
        return self._settings.proxies_dir

    @property
    def converters(self) -> LocalProcesses:
        return self._converters

    @property
    def converters_dir(self) -> Path:
        return self._settings.converters_dir

    @property
    def gateways(self) -> LocalProcesses:
        return self._gateways

    @property
    def gateways_dir(self) -> Path:
        return self._settings.gateways_dir

    @property
    def has_haproxy(self) -> bool:
        return self._settings.haproxy_binary is not None

    @property
    def client_firewall(self) -> ClientFirewall | None:
        return self._client_firewall

    @property
    def cpus(self) -> int:
        return resources.cpus()

    async def read_log(self, node_id: str, after: LogPosition | None) -> LogPart:
        file = self.folder(node_id) / NODE.log
        if after and log_files.is_read(file, after):
            return LogPart(lines=(), position=after)
        return await in_background(log_files.read, file, after)

    async def write_folder(self, node_id: str, folder: str, files: Mapping[str, Iterable[bytes]]) -> None:
        await self.write_files(node_id, {})
        await in_background(node_folders.write_folder, self.folder(node_id) / folder, files)

    async def create_folder(self, node_id: str, folder: str) -> None:
        await self.write_folder(node_id, folder, {})

    async def exchange_folder(self, node_id: str, folder: str, *, new: str, former: str, grace_seconds: float) -> None:
        own = self.folder(node_id)
        async with self._exclusive(node_id):
            if (own / new).is_dir():
                await self._end(node_id, grace_seconds)
                await in_background(node_folders.exchange_folder, own / folder, own / new, own / former)

    async def bring_back_folder(self, node_id: str, folder: str, *, former: str, grace_seconds: float) -> None:
        own = self.folder(node_id)
        async with self._exclusive(node_id):
            if (own / former).is_dir():
                await self._end(node_id, grace_seconds)
                await in_background(node_folders.bring_back_folder, own / folder, own / former)

    async def delete_folders(self, node_id: str, *folders: str) -> None:
        for folder in folders:
            await self.delete_folder(node_id, folder)

    async def delete_folder(self, node_id: str, folder: str) -> None:
        """As `delete_folders`."""
        await in_background(node_folders.delete_folder, self.folder(node_id) / folder)

    async def link_files(self, node_id: str, files: Sequence[str], kept: Set[str], folder: str) -> Mapping[str, int]:
        own = self.folder(node_id)
        return await in_background(node_folders.link_files, [own / file for file in files], own / folder, kept)

    async def read_part(self, node_id: str, file: str, start: int, length: int) -> bytes:
        return await in_background(node_folders.read_part, self.folder(node_id) / file, start, length)

    async def begin_job(self, node_id: str, job_id: str, job: Mapping[str, Any]) -> None:
        await self._performed_jobs().begin_job(node_id, job_id, job)

    async def perform_job(self, node_id: str, job_id: str, job: Mapping[str, Any], within: float) -> JobState:
        return await self._performed_jobs().perform_job(node_id, job_id, job, within)

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState | None:
        return await self._performed_jobs().job_state(node_id, job_id, known_stage, within)

    async def steer_job(
        self, node_id: str, job_id: str, orders: Mapping[str, Any], known_stage: str, within: float
    ) -> JobState | None:
        return await self._performed_jobs().steer_job(node_id, job_id, orders, known_stage, within)

    async def release_job(self, node_id: str, job_id: str, offset: int) -> JobState | None:
        return await self._performed_jobs().release_job(node_id, job_id, offset)

    async def end_job(self, node_id: str, job_id: str) -> None:
        await self._performed_jobs().end_job(node_id, job_id)

    def _performed_jobs(self) -> Jobs:
        if self._jobs is None:
            raise HostSilent("no agent performs jobs on the machine of the server")
        return self._jobs

    async def children(self, node_id: str) -> list[ChildProcess]:
        process = self._process_info(node_id)
        return children_of(process.pid) if process else []

    async def end_child(self, node_id: str, child: ChildProcess, grace_seconds: float) -> bool:
        process = self._process_info(node_id)
        return process is None or await end_child(process.pid, child, grace_seconds)

    def addresses(self, usual: str) -> Iterator[str]:
        return node_addresses(usual)

    def find_ports(self, address: str, count: int, taken: Set[int], *, tls: bool) -> list[NodePorts]:
        ranges = self._settings.node_ports, self._settings.bus_ports
        return find_node_ports(address, *ranges, count, taken, tls=tls)

    def hold_port(self, address: str, port: int) -> None:
        self._held_ports.hold(address, port)

    def release_port(self, address: str, port: int) -> None:
        self._held_ports.release(address, port)

    def is_port_free(self, address: str, port: int) -> bool:
        return is_free(address, port)

    def resources(self) -> resources.Resources:
        return resources.resources(self._settings.data_dir)

    def own_resources(self) -> Resources:
        return self.resources()

    def measured(self) -> dict[str, MeasuredHost]:
        return {EMBEDDED: MeasuredHost(self.address, self.resources(), self.supports_tls())}

    def server_versions(self) -> list[str]:
        return list(self._servers())

    def _servers(self) -> dict[str, Path]:
        return servers_by_version(self._settings.valkey_binaries)

    def _server_of(self, node_id: str) -> Path:
        """Return the valkey-server that the node runs."""
        return self._server_in(self.folder(node_id))

    def _server_in(self, folder: Path) -> Path:
        """Return the valkey-server that the node with this folder runs."""
        try:
            version = (folder / SERVER_VERSION).read_text().strip()
        except OSError:
            return self._settings.valkey_binary
        found = self._servers().get(version)
        if found is None:
            name = folder.name
            log.warning("node %s ran valkey-server %s, which is not configured; it runs the default", name, version)
        return found or self._settings.valkey_binary

    def supports_tls(self) -> bool:
        return has_tls(self._settings.valkey_binary)
