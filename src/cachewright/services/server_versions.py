"""Versions of valkey-server that the nodes of an instance run, and their upgrade."""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.hosts.host import Host
from cachewright.hosts.server_binary import version_key
from cachewright.model.identity import Principal
from cachewright.model.tasks import Task
from cachewright.operations.upgrade import UPGRADE, UpgradeRequest, newest
from cachewright.services.node_queries import NodeQueries
from cachewright.services.tasks import TaskService
from cachewright.threads import RequestThreads


class InstanceVersions(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar running: version that each node runs, by node id; None for a node that does not answer.
    :ivar configured: versions that the host can run.
    """

    running: Mapping[str, str | None]
    configured: Sequence[str]

    @property
    def oldest(self) -> str | None:
        """The oldest version that a node runs; None if no node answers."""
        return min((version for version in self.running.values() if version), key=version_key, default=None)

    @property
    def newest(self) -> str:
        return newest(self.configured)

    @property
    def is_upgradable(self) -> bool:
        oldest = self.oldest
        return oldest is not None and any(version_key(oldest) < version_key(other) for other in self.configured)


class ServerVersions(msgspec.Struct, frozen=True):
    """All methods raise ApiError DCS.3022 if the instance does not exist in the project, or DCS.4974 if too many
    requests of the project wait."""

    host: Host
    nodes: NodeQueries
    tasks: TaskService
    threads: RequestThreads

    async def of_instance(self, principal: Principal, instance_id: str) -> InstanceVersions:
        found = await self.nodes.of_instance(principal, instance_id)
        return InstanceVersions(
            running={info.node.id: (info.fields or {}).get("valkey_version") for info in found.nodes},
            configured=await self.threads.read(principal.project_id, self.host.server_versions),
        )

    async def upgrade(self, principal: Principal, instance_id: str, version: str, *, in_window: bool) -> Task:
        """Start an upgrade to a version, or to `latest`. Raises ApiError like `Upgrade.validate`, or busy.

        :param in_window: begin in the maintenance window of the instance.
        """
        present = await self.of_instance(principal, instance_id)
        request = UpgradeRequest(
            version=version, configured=present.configured, running=present.running, in_window=in_window
        )
        return await self.threads.read(
            principal.project_id, lambda: self.tasks.submit(UPGRADE, principal, instance_id, request)
        )
