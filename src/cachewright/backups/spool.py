"""Files of a backup that is being made: one RDB file for each shard, and a draft of the manifest.

They are in a folder of their own, for its owner only. The draft is stored when every file is complete and on the disk,
so that it tells a whole snapshot from an interrupted one.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from cachewright.backups.manifest import Manifest, decoded, encoded
from cachewright.private_files import write_private
from cachewright.store.encryption import SecretCipher

_DRAFT, _PLACES = "manifest.draft", "places.json"
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


class Rebuilt(msgspec.Struct, frozen=True):
    """What is known of a shard's file that was made from a write log.

    :ivar memory: bytes that its data took in a node.
    :ivar version: of the valkey-server that has written it; empty in those of earlier releases.
    """

    size: int
    sha256: str
    memory: int
    version: str = ""


class Spool:
    """Methods block, and raise OSError."""

    def __init__(self, folder: Path, cipher: SecretCipher) -> None:
        self._folder = folder
        self._cipher = cipher

    @property
    def backup_id(self) -> str:
        return self._folder.name

    def file(self, shard: int) -> Path:
        """Return the path of a shard's RDB file."""
        return self._folder / f"shard-{shard}.rdb"

    def create(self, shard: int) -> BinaryIO:
        """Create the file of a shard."""
        self._create_folder()
        descriptor = os.open(self.file(shard), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
        return os.fdopen(descriptor, "wb", buffering=0)

    def new_log_folder(self, shard: int) -> Path:
        """Create the folder of a shard's write log, in place of an incomplete one."""
        folder = self.log_folder(shard)
        self._create_folder()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=_FOLDER_MODE)
        return folder

    def log_folder(self, shard: int) -> Path:
        return self._folder / f"log-{shard}"

    def store_rebuilt(self, shard: int, rebuilt: Rebuilt) -> None:
        """Store that the file of a shard is whole. It must be on the disk."""
        write_private(self._rebuilt_file(shard), msgspec.json.encode(rebuilt))

    def rebuilt(self, shard: int) -> Rebuilt | None:
        """Return what `store_rebuilt` has stored."""
        try:
            return msgspec.json.decode(self._rebuilt_file(shard).read_bytes(), type=Rebuilt)
        except FileNotFoundError:
            return None

    def store_places(self, places: Mapping[int, str]) -> None:
        """Store which snapshots are with the agent of a node instead of here: the id of that node, by shard. Called
        before the draft is stored."""
        self._create_folder()
        write_private(self._folder / _PLACES, msgspec.json.encode(places))

    def begin_rebuilding(self, shard: int, node_id: str | None) -> None:
        """Store where the snapshot of a shard will be made: with the agent of a node, or here with None."""
        self._rebuilt_file(shard).unlink(missing_ok=True)
        others = {number: place for number, place in self.places().items() if number != shard}
        self.store_places(others if node_id is None else {**others, shard: node_id})

    def places(self) -> dict[int, str]:
        """Return what `store_places` has stored."""
        try:
            return msgspec.json.decode((self._folder / _PLACES).read_bytes(), type=dict[int, str])
        except FileNotFoundError:
            return {}

    def store_draft(self, manifest: Manifest) -> None:
        """Store the draft. All files must be on the disk."""
        write_private(self._folder / _DRAFT, encoded(manifest, self._cipher))

    def draft(self) -> Manifest | None:
        """Return the draft of a whole snapshot, None without one. Raises BackupDamaged."""
        try:
            content = (self._folder / _DRAFT).read_bytes()
        except FileNotFoundError:
            return None
        return decoded(content, self._cipher, self.backup_id)

    def store_keys(self, shard: int, keys: dict[int, int]) -> None:
        """Store that the file of a shard has been verified, and its number of keys by database."""
        write_private(self._keys_file(shard), msgspec.json.encode(keys))

    def keys(self, shard: int) -> dict[int, int] | None:
        """Return what `store_keys` has stored."""
        try:
            return msgspec.json.decode(self._keys_file(shard).read_bytes(), type=dict[int, int])
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """Delete everything. The draft goes first: without it the files are no snapshot."""
        (self._folder / _DRAFT).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder)

    def _create_folder(self) -> None:
        self._folder.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        self._folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def _rebuilt_file(self, shard: int) -> Path:
        return self._folder / f"shard-{shard}.rebuilt"

    def _keys_file(self, shard: int) -> Path:
        return self._folder / f"shard-{shard}.keys"
