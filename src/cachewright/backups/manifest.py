"""The manifest of a backup: what it contains, and the keys of its files.

The object `BACKUP_ID/manifest.json` shows ids and the time to all who can read the storage. Everything else is sealed
by the key of the server. Without that key no part of a backup can be read or changed: the manifest has a key for each
shard, and the chunks of a shard fit only in their places (`encryption`).
"""

from typing import Literal

import msgspec

from cachewright.backups.storage import BackupDamaged, Storage
from cachewright.model.accounts import AccountRole
from cachewright.store.encryption import SecretCipher, WrongKey

FORMAT = 1

Moment = Literal["instance", "shard"]
"""What has one moment: the whole instance, or each shard its own."""


class SavedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account of the instance. `password_hash` is the SHA-256 of its password."""

    name: str
    role: AccountRole
    password_hash: str
    description: str = ""


class SavedShard(msgspec.Struct, frozen=True, kw_only=True):
    """One RDB file.

    :ivar key: key of its chunks, base64.
    :ivar size: bytes, :ivar sha256: hash, both of the RDB file.
    :ivar keys: number of keys by database, without databases that are empty.
    :ivar memory: bytes that the data took in the node, without its index of keys and other overhead; 0 if not known.
    :ivar slots: first and last slot of each range that the shard owned; empty outside clusters.
    :ivar replication_id: history of the node, :ivar offset: position in it, to which the file belongs.
    """

    shard: int
    key: str
    size: int
    sha256: str
    keys: dict[int, int]
    memory: int = 0
    slots: tuple[tuple[int, int], ...] = ()
    replication_id: str = ""
    offset: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar folder: where the objects of the files are, relative to the storage.
    :ivar taken_at: time of the data, epoch milliseconds.
    :ivar server_version: oldest version of valkey-server that is known to read the files.
    :ivar parameters: changed parameters of the nodes, by Valkey's names.
    :ivar password: of the user `default`; None if clients need none.
    """

    backup_id: str
    project_id: str
    instance_id: str
    instance_name: str
    folder: str
    taken_at: int
    moment: Moment
    spec_code: str
    engine_version: str
    server_version: str
    parameters: dict[str, str]
    disabled_commands: tuple[str, ...]
    accounts: tuple[SavedAccount, ...]
    password: str | None
    shards: tuple[SavedShard, ...]

    @property
    def size(self) -> int:
        """Bytes of all RDB files."""
        return sum(shard.size for shard in self.shards)

    @property
    def keys(self) -> dict[int, int]:
        """Number of keys of the instance, by database."""
        numbers = {database for shard in self.shards for database in shard.keys}
        return {number: sum(shard.keys.get(number, 0) for shard in self.shards) for number in sorted(numbers)}


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    backup_id: str
    project_id: str
    instance_id: str
    taken_at: int
    sealed: str


def manifest_name(backup_id: str) -> str:
    return f"{backup_id}/manifest.json"


def encoded(manifest: Manifest, cipher: SecretCipher) -> bytes:
    """Return the content of the object."""
    return msgspec.json.encode(
        _File(
            format=FORMAT,
            backup_id=manifest.backup_id,
            project_id=manifest.project_id,
            instance_id=manifest.instance_id,
            taken_at=manifest.taken_at,
            sealed=cipher.encrypt(msgspec.json.encode(manifest).decode()),
        )
    )


def decoded(content: bytes, cipher: SecretCipher, backup_id: str) -> Manifest:
    """Return the manifest of this backup. Raises BackupDamaged if it is another one, was changed, or was sealed with
    another key."""
    try:
        file = msgspec.json.decode(content, type=_File)
        if file.format != FORMAT:
            raise BackupDamaged(f"backup {backup_id}: its format {file.format} is not supported")
        manifest = msgspec.json.decode(cipher.decrypt_once(file.sealed), type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupDamaged(f"backup {backup_id}: its manifest cannot be read: {error}") from error
    except WrongKey as error:
        raise BackupDamaged(f"backup {backup_id}: its manifest was changed, or sealed with another key") from error
    if manifest.backup_id != backup_id:
        raise BackupDamaged(f"backup {backup_id}: its manifest belongs to backup {manifest.backup_id}")
    return manifest


async def read_manifest(storage: Storage, cipher: SecretCipher, backup_id: str) -> Manifest:
    """Return the manifest of a backup. Raises BackupDamaged also if there is none; StorageFailed."""
    content = await storage.get(manifest_name(backup_id))
    if content is None:
        raise BackupDamaged(f"backup {backup_id}: it has no manifest")
    return decoded(content, cipher, backup_id)
