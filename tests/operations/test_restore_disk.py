"""A disk that is almost full when a restore writes the data of a node."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright import errors
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.operations.actions.restore import _Writing
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.config import DATA_FOLDER

NODE, PART = "a" * 40, b"x" * 1000


async def test_the_reserve_of_the_disk_stays_free_and_the_node_keeps_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = LocalHost(Settings(data_dir=tmp_path))
    own = host.folder(NODE) / DATA_FOLDER
    own.mkdir(parents=True)
    (own / "data").write_text("former")
    free = [20_000]
    written: list[int] = []

    def parts(_: object, count: Any) -> Iterator[bytes]:
        while True:  # the snapshot has more bytes than the disk
            free[0] -= len(PART)
            written.append(len(PART))
            count(sum(written))
            yield PART

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100_000, free=free[0]))
    step: Any = SimpleNamespace(
        task=SimpleNamespace(id="t"),
        sub_step=SimpleNamespace(work=SimpleNamespace(total=100.0)),
        raise_if_cancelled=lambda: None,
        measure=lambda **_: None,
    )
    context: Any = SimpleNamespace(host=host)
    node: Any = SimpleNamespace(id=NODE, host="127.0.0.1", port=1, shard=0, role="primary")
    planned: Any = SimpleNamespace(size=1_000_000, keys=1)
    with pytest.raises(ActionFailed, match="almost full") as failure:
        await _Writing(context, step, node, planned).write(SimpleNamespace(parts=parts))  # type: ignore[arg-type]  # as far as it is used
    assert failure.value.code == errors.NOT_ENOUGH_DISK
    assert 4_000 <= free[0] <= 6_000, "a twentieth stays free"
    assert [path.name for path in host.folder(NODE).iterdir()] == [DATA_FOLDER]
    assert (own / "data").read_text() == "former"
