"""How long a replica that has restarted waits for clients before it takes over."""

import pytest

from cachewright.operations.ending_node import reconnected_at

NOW = 1000.0


@pytest.mark.parametrize(
    ("started_at", "opened_at", "expected"),
    [
        (990.0, 996.0, 1001.0),
        (900.0, 996.0, 1001.0),
        (900.0, None, 905.0),
        (900.0, 890.0, 905.0),
        (990.0, None, NOW + 5),
        (990.0, 980.0, NOW + 5),
    ],
    ids=["opened late", "opened again", "always open", "open before the restart", "by another server", "both"],
)
def test_clients_have_time_since_the_node_accepts_them(
    started_at: float, opened_at: float | None, expected: float
) -> None:
    """valkey-glide tries to connect again after up to 3.9 s. Until then it fails requests to a node that has become the
    primary, so the time begins when the port is open, not when the process has started."""
    assert reconnected_at(started_at, opened_at, NOW) == expected
