"""Objects of write logs: what is read is what was stored, in its order, or an error."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from cachewright.backups.encryption import new_key
from cachewright.backups.log_objects import Part, fetch, object_name, seal, unseal
from cachewright.backups.storage import BackupDamaged, Storage
from cachewright.model.write_logs import WriteLog
from write_log_fixtures import a_log

LOG = a_log(key=new_key(), objects=3, size=9, stored={"a.1.base.rdb": 3, "a.1.incr.aof": 6})
PARTS = [(Part("a.1.base.rdb", 0), b"abc"), (Part("a.1.incr.aof", 0), b"def"), (Part("a.1.incr.aof", 3), b"ghi")]


async def stored(folder: Path, parts: list[tuple[Part, bytes]] = PARTS, log: WriteLog = LOG) -> Storage:
    storage = Storage.open(folder.as_uri(), create=True)
    for number, (part, content) in enumerate(parts):
        await storage.put(*seal(log, number, part, content))
    return storage


async def read(storage: Storage, folder: Path, log: WriteLog = LOG) -> list[bytes]:
    await asyncio.to_thread(folder.mkdir)
    return [path.read_bytes() for path in sorted(await fetch(storage, log, folder, lambda _: None))]


async def test_files_are_put_together_again(tmp_path: Path) -> None:
    storage = await stored(tmp_path / "s")
    assert await read(storage, tmp_path / "f") == [b"abc", b"defghi"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "f").iterdir()} == {0o600}
    assert b"def" not in (tmp_path / "s" / object_name(LOG, 1, PARTS[1][0], 3)).read_bytes()


async def test_an_object_that_was_stored_again_is_the_present_one(tmp_path: Path) -> None:
    """A server that was killed before it recorded an object stores another one with its number."""
    storage = await stored(tmp_path / "s", [*PARTS, (Part("a.1.incr.aof", 6), b"not recorded")])
    assert await read(storage, tmp_path / "f") == [b"abc", b"defghi"]


@pytest.mark.parametrize("late", [b"d", b"defghijk"], ids=["shorter", "longer"])
async def test_an_attempt_that_the_service_applies_late_changes_nothing(tmp_path: Path, late: bytes) -> None:
    storage = await stored(tmp_path / "s")
    await storage.put(*seal(LOG, 1, PARTS[1][0], late))
    assert await read(storage, tmp_path / "f") == [b"abc", b"defghi"]


@pytest.mark.parametrize(
    "parts",
    [
        [PARTS[0], PARTS[2], PARTS[1]],
        [PARTS[0], PARTS[1], PARTS[1]],
        [PARTS[0], PARTS[1], (Part("../key", 0), b"ghi")],
        PARTS[:2],
    ],
    ids=["exchanged", "repeated", "of no file of the log", "missing"],
)
async def test_wrong_objects_are_found(tmp_path: Path, parts: list[tuple[Part, bytes]]) -> None:
    storage = await stored(tmp_path / "s", parts)
    with pytest.raises(BackupDamaged):
        await read(storage, tmp_path / "f")


def test_an_object_belongs_to_its_log_and_name() -> None:
    name, sealed = seal(LOG, 1, *PARTS[1])
    assert unseal(LOG, name, sealed) == PARTS[1]
    other = object_name(LOG, 2, PARTS[1][0], 3)
    for log, wrong in ((LOG, other), (msgspec.structs.replace(LOG, key=new_key()), name)):
        with pytest.raises(BackupDamaged):
            unseal(log, wrong, sealed)
    with pytest.raises(BackupDamaged):
        unseal(LOG, name, sealed[:-1] + bytes([sealed[-1] ^ 1]))
