"""What a backup contains, as far as requests and plans of restores need it, and where it fits. Pure."""

from collections.abc import Sequence

import msgspec

from cachewright import errors
from cachewright.backups.manifest import Manifest
from cachewright.errors import ApiError
from cachewright.flavors import Flavor
from cachewright.hosts.server_binary import version_key
from cachewright.topologies import topology_of
from cachewright.valkey.slots import SLOTS


class BackupContent(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar name: of the instance that was backed up.
    :ivar sizes: bytes of the snapshot of each shard, by its number.
    :ivar memory: bytes that the data took in the nodes at least; 0 if not known.
    :ivar databases: those with keys.
    :ivar server_version: oldest version of valkey-server that is known to read the snapshots.
    :ivar parameters: changed parameters of the nodes, by Valkey's names.
    """

    backup_id: str
    name: str
    spec_code: str
    sizes: dict[int, int]
    databases: tuple[int, ...]
    keys: int
    server_version: str
    parameters: dict[str, str]
    memory: int = 0

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    @property
    def least_memory(self) -> int:
        """Bytes that the data takes in nodes at least: most snapshots are smaller, because they are compressed."""
        return max(self.memory, self.size)

    @property
    def is_by_slot(self) -> bool:
        """Whether the snapshots are divided by slots, because nodes of a cluster have written them."""
        return topology_of(self.spec_code).is_cluster


def content_of(manifest: Manifest) -> BackupContent:
    return BackupContent(
        backup_id=manifest.backup_id,
        name=manifest.instance_name,
        spec_code=manifest.spec_code,
        sizes={shard.shard: shard.size for shard in manifest.shards},
        databases=tuple(manifest.keys),
        keys=sum(manifest.keys.values()),
        server_version=manifest.server_version,
        parameters=manifest.parameters,
        memory=sum(shard.memory for shard in manifest.shards),
    )


def require_fits(content: BackupContent, flavor: Flavor, server_version: str | None) -> None:
    """ApiError if an instance of this flavor cannot have the data: DCS.4036 if it is larger than its memory, DCS.4062
    if it has more databases or a newer form.

    :param server_version: version of valkey-server that the nodes run, None if it is not known.
    """
    allowed = topology_of(flavor.spec_code).databases
    if beyond := [number for number in content.databases if number >= allowed]:
        reason = f"the backup has keys in database {beyond[0]}; an instance of type {flavor.cache_mode} has {allowed}"
        raise _refused(reason)
    if server_version and version_key(server_version) < version_key(content.server_version):
        reason = f"it needs valkey-server {content.server_version}, the nodes run {server_version}"
        raise _refused(reason)
    memory = flavor.shards * flavor.shard_bytes
    if content.least_memory > memory:
        reason = f"the backup has {content.least_memory} bytes of data, the instance {memory} bytes of memory"
        raise ApiError(errors.NOT_ENOUGH_MEMORY, reason=reason)


def require_reach(away: str, *, storage_is_shared: bool) -> None:
    """ApiError DCS.4062 if agents cannot make the data of nodes on other hosts.

    :param away: sentence about a node there. :param storage_is_shared: whether agents reach the storage of backups.
    """
    if not storage_is_shared:
        raise _refused(f"only the server reaches the folder of backups, set --backup-storage: {away}")


def needs_slot_order(content: BackupContent, shards: int) -> bool:
    """Whether the keys must be divided by slots first: one node without a cluster has written them, and more than one
    shard gets them."""
    return shards > 1 and not content.is_by_slot


def _refused(reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, parameter="backup_id", reason=reason)


def expected_bytes(slots: Sequence[tuple[int, int]] | None, content: BackupContent) -> int:
    """Return the expected bytes of the snapshot of these slots, or of all with None."""
    if slots is None:
        return max(content.size, 1)
    share = sum(last - first + 1 for first, last in slots) / SLOTS
    return max(int(content.size * share), 1)


def disk_bytes(content_bytes: int, copies: int) -> int:
    """Return the bytes of disk that a restore of so many bytes takes: the snapshots, and the data of each copy."""
    return content_bytes * (1 + copies)
