"""Jobs of a node, to confirm what its log says about them."""

from collections.abc import Sequence

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.migration.jobs import Job, jobs_in
from cachewright.valkey.single_request import request_once

_ANSWER_SECONDS = 2.0


async def known_jobs(node: Node, access: Access) -> Sequence[Job] | None:
    """Return the jobs that the node knows; None if it does not answer or is busy. A node that is not in a cluster has
    none."""
    try:
        (rows,) = await request_once(node, access, [("CLUSTER", "GETSLOTMIGRATIONS")], _ANSWER_SECONDS)
    except (*NODE_GONE, NodeBusy):
        return None
    except NodeRefused:
        return ()
    return jobs_in(rows)
