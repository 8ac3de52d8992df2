"""Sources of migrations that try to fill the disk or the memory of the server's host."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile_source import endless, hostile_source, huge_value

from migrating import SINGLE, failed_migration, migrate
from sdk_calls import created, show
from serving import Server


@pytest.fixture(scope="module")
def target(client: Any) -> str:
    return created(client, **SINGLE)


@pytest.mark.parametrize(
    ("snapshot", "reasons"),
    [
        (endless, ("DCS.9020: the source sends a snapshot of more than",)),
        # Either the kernel refuses the memory, or the server measures that it was taken.
        (
            huge_value,
            ("DCS.9020: the data of the source cannot be loaded: Short read or OOM", "DCS.4036: the gateway "),
        ),
    ],
    ids=["endless", "unpacked"],
)
def test_a_source_takes_no_more_than_its_data(
    server: Server, client: Any, target: str, snapshot: Callable[[], Iterator[bytes]], reasons: tuple[str, ...]
) -> None:
    with hostile_source(snapshot()) as address:
        failed = failed_migration(client, migrate(client, target, address, follow=True))
    said = server.call("GET", f"migration-task/{failed}")[1]["error_message"]
    assert said.startswith(reasons)
    assert not list((server.data_dir / "gateways").glob("[!.]*"))
    assert show(client, target).status == "RUNNING"
