"""Folders of nodes: written whole, and exchanged so that an interruption at any point can be completed or undone."""

from pathlib import Path

import pytest

from cachewright.hosts.node_folders import bring_back_folder, delete_folder, exchange_folder, write_folder


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


def test_an_interrupted_exchange_can_be_undone(tmp_path: Path) -> None:
    data, new, former = folder(tmp_path, "data", "old"), folder(tmp_path, "new", "new"), tmp_path / "former"
    data.rename(former)
    bring_back_folder(data, former)
    assert (data / "file").read_text() == "old"
    delete_folder(new)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
