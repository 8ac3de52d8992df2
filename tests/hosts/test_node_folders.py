"""Folders of nodes: written whole, and exchanged so that an interruption at any point can be completed or undone."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from cachewright.disk_reserve import require_reserve
from cachewright.hosts.node_folders import (
    bring_back_folder,
    delete_folder,
    exchange_folder,
    link_files,
    read_part,
    write_folder,
)


def folder(root: Path, name: str, content: str) -> Path:
    (root / name).mkdir()
    (root / name / "file").write_text(content)
    return root / name


def test_a_folder_is_there_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    target = folder(tmp_path, "new", "old")

    def parts() -> object:
        yield b"one"
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_folder(target, {"other": parts()})  # type: ignore[dict-item]  # a generator that fails
    assert list(tmp_path.iterdir()) == []
    write_folder(target, {"other": iter([b"one", b"two"])})
    assert (target / "other").read_bytes() == b"onetwo"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (target.stat().st_mode & 0o777, (target / "other").stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_exchange_can_be_undone(tmp_path: Path, *, interrupted: bool) -> None:
    data, new, former = folder(tmp_path, "data", "old"), folder(tmp_path, "new", "new"), tmp_path / "former"
    if interrupted:  # between its two renamings
        data.rename(former)
    exchange_folder(data, new, former)
    exchange_folder(data, new, former)
    assert ((data / "file").read_text(), (former / "file").read_text(), new.exists()) == ("new", "old", False)
    bring_back_folder(data, former)
    bring_back_folder(data, former)
    assert (data / "file").read_text() == "old"
    assert not former.exists()


def test_an_exchange_never_deletes_former_data(tmp_path: Path) -> None:
    data, new, former = (folder(tmp_path, name, name) for name in ("data", "new", "former"))
    with pytest.raises(FileExistsError, match="former"):
        exchange_folder(data, new, former)
    assert [(path / "file").read_text() for path in (data, new, former)] == ["data", "new", "former"]


def test_an_interrupted_exchange_can_be_undone(tmp_path: Path) -> None:
    data, new, former = folder(tmp_path, "data", "old"), folder(tmp_path, "new", "new"), tmp_path / "former"
    data.rename(former)
    bring_back_folder(data, former)
    assert (data / "file").read_text() == "old"
    delete_folder(new)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_links_keep_files_that_are_deleted_or_grow(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("base", "increment")]
    links = tmp_path / "links"
    for file in files:
        file.write_bytes(b"1")
    assert link_files(files, links, set()) == {"base": 1, "increment": 1}
    files[0].unlink()
    with files[1].open("ab") as file:
        file.write(b"23")
    assert link_files(files[1:], links, {"base"}) == {"base": 1, "increment": 3}
    assert read_part(links / "increment", 1, 9) == b"23"
    files[1].rename(tmp_path / "of another folder")
    files[1].write_bytes(b"other")
    assert link_files(files[1:], links, set()) == {"increment": 5}
    with pytest.raises(FileNotFoundError):
        link_files(files, links, set())


def test_a_reserve_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1000, free=100))
    require_reserve(tmp_path, 50)
    with pytest.raises(OSError, match="almost full"):
        require_reserve(tmp_path, 51)
    with pytest.raises(OSError, match="almost full"):
        write_folder(tmp_path / "data", {"file": [b"x" * 30, b"x" * 51]})
    assert not list(tmp_path.iterdir()), "what was written is left"


def test_a_deletion_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    (tmp_path / ".folder.leaving").mkdir()
    (tmp_path / ".folder.leaving" / "file").write_text("left")
    delete_folder(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []
