"""Topologies, the kinds of instances, behind one port. `TOPOLOGIES` is their registry."""

from collections.abc import Mapping
from functools import lru_cache

from cachewright.flavors import parse
from cachewright.topologies.cluster import Cluster
from cachewright.topologies.ha import Ha
from cachewright.topologies.single import Single
from cachewright.topologies.topology import Topology

CLUSTER = Cluster()
TOPOLOGIES: Mapping[str, Topology] = {topology.cache_mode: topology for topology in (CLUSTER, Ha(), Single())}
"""Topologies by the cloud's name of their cache mode."""


@lru_cache(maxsize=4096)
def topology_of(spec_code: str) -> Topology:
    """Return the topology of instances with this spec code. Raises KeyError if it is not supported."""
    return TOPOLOGIES[parse(spec_code).cache_mode]


def becomes_cluster(now: str, new: str) -> bool:
    """Whether an instance with the spec code `now` that gets `new` becomes a cluster. Other nodes replace its own."""
    return topology_of(new).is_cluster and not topology_of(now).is_cluster
