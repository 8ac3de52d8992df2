"""Logs and child processes of nodes of this machine."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from cachewright.config import Settings
from cachewright.hosts import programs
from cachewright.hosts.host import LogPosition
from cachewright.hosts.local import LocalHost
from cachewright.valkey.client import connect
from standalone_node import OPEN, started

NODE = "a" * 40


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "nodes" / NODE
    folder.mkdir(parents=True)
    return folder / programs.NODE.log


@pytest.fixture
def host(tmp_path: Path) -> LocalHost:
    return LocalHost(Settings(data_dir=tmp_path))


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


async def test_each_complete_line_is_read_once(host: LocalHost, log: Path) -> None:
    assert (await host.read_log(NODE, None)).lines == ()
    append(log, "one\ntwo\nthr")
    first = await host.read_log(NODE, None)
    assert first.lines == ("one", "two")
    append(log, "ee\nfour\n")
    second = await host.read_log(NODE, first.position)
    assert second.lines == ("three", "four")
    third = await host.read_log(NODE, second.position)
    assert (third.lines, third.position) == ((), second.position)


@pytest.mark.parametrize("how", ["cut off", "replaced", "removed"])
async def test_a_log_that_is_cut_off_or_replaced_is_read_from_its_begin(host: LocalHost, log: Path, how: str) -> None:
    append(log, "before\n" * 100)
    position = (await host.read_log(NODE, None)).position
    if how == "cut off":
        os.truncate(log, 0)
    else:
        os.rename(log, log.with_suffix(".1"))  # noqa: PTH104  # as a program that rotates logs does
    if how == "removed":
        assert (await host.read_log(NODE, position)).lines == ()
    append(log, "after\n")
    assert (await host.read_log(NODE, position)).lines == ("after",)


async def test_a_read_is_limited_and_loses_nothing(host: LocalHost, log: Path) -> None:
    append(log, "".join(f"{number:099}\n" for number in range(2000)))
    tail = await host.read_log(NODE, None)
    assert len(tail.lines) < 1000
    assert tail.lines[-1] == f"{1999:099}"
    assert tail.position.offset == 200_000
    lines: list[str] = []
    position = LogPosition(file=tail.position.file, offset=0)
    while position != tail.position:
        part = await host.read_log(NODE, position)
        position = part.position
        lines += part.lines
    assert lines == [f"{number:099}" for number in range(2000)]


async def test_a_child_is_listed_by_its_title_and_ended(tmp_path: Path) -> None:
    async with started(tmp_path) as node, connect(node, OPEN) as client:
        host = LocalHost(Settings(data_dir=tmp_path))
        assert await host.children(node.id) == []
        await client.mset({f"key:{number}": "x" for number in range(100)})
        await client.config_set("rdb-key-save-delay", 1_000_000)
        await client.bgsave()
        async with asyncio.timeout(30):
            while not (await host.children(node.id))[0].title.startswith("valkey-rdb-bgsave"):
                await asyncio.sleep(0.01)  # the child sets its title a moment after its begin
        (child,) = await host.children(node.id)
        other = type(child)(pid=child.pid, start_ticks=child.start_ticks + 1, title=child.title)
        assert await host.end_child(node.id, other, 1.0), "another process than that with the pid has ended"
        assert await host.children(node.id) == [child]
        psutil.Process(child.pid).suspend()  # signals but SIGKILL wait
        assert await host.end_child(node.id, child, 1.0)
        assert child not in await host.children(node.id)
    assert await host.children(node.id) == []
