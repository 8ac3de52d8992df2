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
