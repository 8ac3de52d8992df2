"""Which new instances have TLS between their nodes, if their hosts have it."""

import pytest

from cachewright.services.instances import may_encrypt
from cachewright.topologies import topology_of

CLUSTER, HA, SINGLE = "redis.cluster.xu1.large.r2.s1.2", "redis.ha.xu1.large.r2.1", "redis.single.xu1.large.1"


@pytest.mark.parametrize(
    ("spec_code", "stays_here", "with_proxy", "expected"),
    [
        (CLUSTER, True, False, True),
        (CLUSTER, False, False, True),
        (HA, False, True, True),
        (HA, False, False, False),
        (HA, True, True, False),
        (SINGLE, False, False, True),
        (SINGLE, True, False, False),
    ],
)
def test_nodes_get_tls_where_something_travels(
    spec_code: str, stays_here: bool, with_proxy: bool, expected: bool
) -> None:
    assert may_encrypt(topology_of(spec_code), stays_here=stays_here, with_proxy=with_proxy) is expected
