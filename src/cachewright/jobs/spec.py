"""What the server asks an agent to do with the data of a node. Sent encrypted: it has secrets and keys."""

from typing import Annotated, Any

import msgspec

from cachewright.backups.manifest import Manifest, SavedShard
from cachewright.jobs.migrations.files import FilePlace
from cachewright.jobs.migrations.run import Assignment
from cachewright.jobs.migrations.shards import CopyShard, FetchFile, FollowSource, ImportFile, SyncGateway
from cachewright.model.instances import Node
from cachewright.model.write_logs import WriteLog

SNAPSHOT_PREFIX, FETCHED_PREFIX = "snapshot-", "fetched-"
"""Prefixes of the names of folders: with a snapshot for the next job, and with files that a job has fetched."""

SNAPSHOT_FILE = "shard.rdb"
"""Name of a snapshot in the folder of its job."""


_Name = Annotated[str, msgspec.Meta(pattern=r"^(?!\.{1,2}$)[^/]+$")]
"""Name of a file or a folder, without a path to another folder."""


class _Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all jobs have in common: the name of their kind."""


class _FolderJob(_Job, frozen=True, kw_only=True):
    """:ivar folder: name of a folder below that of the node, with the files of the job."""

    folder: _Name


class ReceiveSnapshot(_FolderJob, frozen=True, kw_only=True, tag="receive snapshot"):
    """Receive the snapshot of the node. It waits for `release_job` in the stage `OPEN`.

    :ivar secret: of the control plane's user. :ivar by_slot: the node is one of a cluster.
    """

    OPEN = "open"
    BEGUN = "begun"

    node: Node
    secret: str
    by_slot: bool


class CheckSnapshot(_FolderJob, frozen=True, kw_only=True, tag="check snapshot"):
    """Read the whole snapshot that was received, and count its keys.

    :ivar version: of the valkey-server that has written it.
    """

    version: str


class StoreSnapshot(_FolderJob, frozen=True, kw_only=True, tag="store snapshot"):
    """Encrypt the snapshot, store it, and delete it here.

    :ivar storage: URL. The credentials are in the environment of the agent.
    :ivar target: folder of the snapshots of the backup, in the storage.
    """

    storage: str
    target: str
    shard: SavedShard


class MakeData(_FolderJob, frozen=True, kw_only=True, tag="make data"):
    """Fetch snapshots of a backup into the folder of the job, and write the data of the node from them. The folder is
    deleted at the end.

    :ivar storage: URL, as in `StoreSnapshot`.
    :ivar manifest: with those shards alone that have keys of the node, and without anything that is not about them.
    :ivar slots: ranges of slots of which the node gets the keys; None for all keys.
    :ivar target: name of the folder of the data below that of the node.
    :ivar most_bytes: memory of the node; more data is refused.
    """

    storage: str
    manifest: Manifest
    slots: tuple[tuple[int, int], ...] | None
    target: _Name
    most_bytes: int


class LinkLog(_FolderJob, frozen=True, kw_only=True, tag="link log"):
    """Link the present files of the append-only log of the node into the folder of the job.

    :ivar kept: names of other files that stay there.
    """

    kept: tuple[_Name, ...]


class ReadTimes(_FolderJob, frozen=True, kw_only=True, tag="read times"):
    """Read the latest second in files of the folder.

    :ivar sizes: bytes of each, by name.
    """

    sizes: dict[_Name, int]


class LogPart(msgspec.Struct, frozen=True):
    """Bytes of a file of a write log that become one object.

    :ivar number: of the object.
    """

    number: int
    file: _Name
    start: int
    length: int


class StoreLog(_FolderJob, frozen=True, kw_only=True, tag="store log"):
    """Store parts of files of the folder as objects of a write log.

    :ivar storage: URL, as in `StoreSnapshot`.
    """

    storage: str
    log: WriteLog
    parts: tuple[LogPart, ...]


class ReplayLog(_FolderJob, frozen=True, kw_only=True, tag="replay log"):
    """Fetch a write log, load its writes until a second into a temporary node, and leave the snapshot that it writes in
    the folder, as `ReceiveSnapshot` does.

    :ivar storage: URL, as in `StoreSnapshot`.
    :ivar moment: epoch seconds.
    :ivar name: of the temporary node, :ivar databases: number of its databases.
    :ivar is_cluster: it is one of a cluster.
    """

    storage: str
    log: WriteLog
    moment: int
    name: _Name
    databases: int
    is_cluster: bool

    def __post_init__(self) -> None:
        msgspec.convert(tuple(self.log.stored), tuple[_Name, ...])


class DivideSnapshot(_FolderJob, frozen=True, kw_only=True, tag="divide snapshot"):
    """Fetch the only snapshot of a backup, divide it by slots in a temporary node, and store it again. The folder is
    deleted at the end.

    :ivar storage: URL, as in `StoreSnapshot`.
    :ivar manifest: without anything that is not about the snapshot.
    :ivar target: folder below which it is stored.
    :ivar name: of the temporary node.
    """

    storage: str
    manifest: Manifest
    target: str
    name: _Name


class _PartOfMigration(_Job, frozen=True, kw_only=True):
    """A part of a migration from outside, with gateways on the machine of the agent. Its server says `Orders` to it.

    :ivar total: see `Work.total` of its sub-step.
    :ivar proofs: certificate of the authority of nodes with TLS, and the identity by which they know the control plane,
        PEM; None without TLS between nodes.
    """

    assignment: Assignment
    total: float
    proofs: tuple[str, str] | None


class Synchronize(_PartOfMigration, frozen=True, kw_only=True, tag="synchronize gateway"):
    part: SyncGateway


class CopyKeys(_PartOfMigration, frozen=True, kw_only=True, tag="copy keys"):
    """:ivar is_first: nothing of the shard was copied before, so that no key needs to be deleted."""

    part: CopyShard
    is_first: bool


class Follow(_PartOfMigration, frozen=True, kw_only=True, tag="follow source"):
    part: FollowSource


class FetchFileOfImport(_PartOfMigration, frozen=True, kw_only=True, tag="fetch file"):
    part: FetchFile
    place: FilePlace


class ImportKeys(_PartOfMigration, frozen=True, kw_only=True, tag="import file"):
    part: ImportFile
    place: FilePlace


class RemoveGateways(_Job, frozen=True, kw_only=True, tag="remove gateways"):
    """End all parts of a migration, and remove its gateways."""

    migration_id: str


FolderJob = (
    ReceiveSnapshot
    | CheckSnapshot
    | StoreSnapshot
    | MakeData
    | LinkLog
    | ReadTimes
    | StoreLog
    | ReplayLog
    | DivideSnapshot
)
PartOfMigration = Synchronize | CopyKeys | Follow | FetchFileOfImport | ImportKeys
Job = FolderJob | PartOfMigration | RemoveGateways


def encoded(job: Job) -> dict[str, Any]:
    encoded: dict[str, Any] = msgspec.to_builtins(job, str_keys=True)
    return encoded


def decoded(job: Any) -> Job:
    """Raises msgspec.ValidationError, also for a job of a later release, or with files outside of its folders."""
    decoded: Job = msgspec.convert(job, Job, str_keys=True)
    return decoded
