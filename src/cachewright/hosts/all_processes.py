"""Processes of one kind on all machines: those of the server's own, and those that agents run."""

from collections.abc import Awaitable, Callable, Mapping

from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import Processes, ProcessInfo
from cachewright.hosts.remote import RemoteProcesses
from cachewright.model.hosts import EMBEDDED
from cachewright.threads import in_background


class AllProcesses:
    """Methods of `Processes` that concern one process: each goes to the machine that is recorded for it."""

    async def _of(self, name: str) -> Processes | RemoteProcesses:
        """Return the processes of the machine on which the one with this name is recorded."""
        raise NotImplementedError

    async def _here(self, name: str) -> Processes:
        """Return those of the machine of the server. Raises HostSilent for a process of another host."""
        found = await self._of(name)
        if isinstance(found, RemoteProcesses):
            raise HostSilent(f"{name} is on another host, where it cannot be replaced")
        return found

    async def process(self, name: str) -> ProcessInfo | None:
        return await (await self._of(name)).process(name)

    async def is_running(self, name: str) -> bool:
        return await (await self._of(name)).is_running(name)

    async def is_busy(self, name: str) -> bool:
        return await (await self._of(name)).is_busy(name)

    async def has_file(self, name: str, file: str) -> bool:
        return await (await self._of(name)).has_file(name, file)

    async def read_file(self, name: str, file: str) -> str | None:
        return await (await self._of(name)).read_file(name, file)

    async def write_files(self, name: str, files: Mapping[str, str]) -> None:
        await (await self._of(name)).write_files(name, files)

    async def start(self, name: str) -> None:
        await (await self._of(name)).start(name)

    async def restart(self, name: str, not_before: float, grace_seconds: float) -> None:
        await (await self._of(name)).restart(name, not_before, grace_seconds)

    async def stop(self, name: str, grace_seconds: float) -> None:
        await (await self._of(name)).stop(name, grace_seconds)

    async def remove(self, name: str, grace_seconds: float) -> None:
        await (await self._of(name)).remove(name, grace_seconds)

    async def set_aside(self, name: str, not_before: float, grace_seconds: float) -> None:
        await (await self._of(name)).set_aside(name, not_before, grace_seconds)

    async def ensure(
        self, name: str, files: Callable[[], Awaitable[Mapping[str, str] | None]], grace_seconds: float
    ) -> None:
        await (await self._here(name)).ensure(name, files, grace_seconds)


class AllSentinels(AllProcesses):
    """Implements `Processes` for sentinels."""

    def __init__(
        self,
        local: Processes,
        host_of: Callable[[str], str | None],
        remote: Callable[[str], RemoteProcesses],
        reported: Callable[[], Mapping[str, ProcessInfo]],
    ) -> None:
        """:param local: those of the machine of the server.
        :param host_of: returns the name of the host of a sentinel, None if it is not recorded. It blocks.
        :param remote: returns those of another host. Raises DatabaseUnavailable in a server that another one may have
            replaced.
        :param reported: returns those of other hosts, as these have reported last. It blocks.
        """
        self._local = local
        self._host_of = host_of
        self._remote = remote
        self._reported = reported

    async def processes(self) -> Mapping[str, ProcessInfo]:
        return {**await self._local.processes(), **await in_background(self._reported)}

    async def with_file(self, file: str) -> frozenset[str]:
        """Names of those of the machine of the server."""
        return await self._local.with_file(file)

    async def _of(self, name: str) -> Processes | RemoteProcesses:
        host_name = await in_background(self._host_of, name)
        return self._local if host_name in (None, EMBEDDED) else self._remote(host_name)
