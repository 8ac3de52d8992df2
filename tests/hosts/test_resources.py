"""What a machine has, within the limits of its control groups."""

from pathlib import Path

import psutil
import pytest

from cachewright.hosts.resources import _group_limits, resources, total_memory


def test_the_machine_has_memory_and_disk(tmp_path: Path) -> None:
    found = resources(tmp_path)
    assert 0 < found.memory_free <= psutil.virtual_memory().total
    assert 0 < found.memory == total_memory() <= psutil.virtual_memory().total
    assert found.disk_free > 0


@pytest.mark.parametrize(
    ("groups", "files", "found"),
    [
        ("0::/a/b\n", {"memory.max": "max", "a/memory.max": "300", "a/b/memory.max": "400"}, [400, 300]),
        ("0::/elsewhere\n", {"memory.max": "500"}, [500]),
        ("5:memory:/a\n4:cpu,cpuacct:/\n0::/\n", {"memory/a/memory.limit_in_bytes": "600"}, [600]),
        ("1:name=systemd:/\n", {"memory.max": "1"}, []),
        ("0::/\n", {}, []),
    ],
)
def test_a_control_group_and_all_above_it_limit(
    tmp_path: Path, groups: str, files: dict[str, str], found: list[int]
) -> None:
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    (tmp_path / "groups").write_text(groups)
    assert list(_group_limits(tmp_path / "groups", tmp_path / "root")) == found


def test_a_system_without_control_groups_limits_nothing(tmp_path: Path) -> None:
    assert list(_group_limits(tmp_path / "groups", tmp_path)) == []
