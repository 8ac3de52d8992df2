"""Actions that look at the keys of a node."""

import asyncio
import time
from contextlib import aclosing

import msgspec

from cachewright import errors
from cachewright.model.key_analyses import FoundKey, Subject
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext
from cachewright.store import key_analyses
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import expiry_scan, key_analysis

_DAY_SECONDS = 24 * 3600.0


class ScanNode(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar keys_at_once: keys that the node looks at in one step.
    :ivar seconds: time after which the scan ends; 0 for no limit.
    """

    node_id: str
    keys_at_once: int
    seconds: int


@action("scan for expired keys", ScanNode, timeout=_DAY_SECONDS, attempts=4)
async def scan_for_expired_keys(context: OperationContext, step: StepContext, arguments: ScanNode) -> None:
    """Scan all keys of a node, so that it deletes those that have expired. A repetition starts from the beginning."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    begin = time.monotonic()
    async with aclosing(expiry_scan.scan(node, context.access(instance), arguments.keys_at_once)) as progress:
        async for scanned in progress:
            shown = f"{{node_id:{node.id},keys_scanned:{scanned.keys},keys_expired:{scanned.expired}}}"
            step.measure(done=min(scanned.keys, step.sub_step.work.total), detail=shown)
            await step.wait_until_allowed()
            if arguments.seconds and time.monotonic() - begin > arguments.seconds:
                return


class AnalyseNode(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar node_id: node that looks at its keys.
    :ivar address: `host:port` of the primary of its shard.
    """

    node_id: str
    address: str
    subject: Subject
    in_cluster: bool


@action("analyse keys", AnalyseNode, timeout=_DAY_SECONDS, attempts=4)
async def analyse_keys(context: OperationContext, step: StepContext, arguments: AnalyseNode) -> None:
    """Look at all keys of a node, and store those that belong to the result. A repetition starts from the beginning."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        message = f"node {arguments.node_id} is not part of the instance any more"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message, True)
    access, subject = context.access(instance), arguments.subject
    if subject == "hot" and not (await key_analysis.eviction_policy(node, access)).endswith("-lfu"):
        raise ActionFailed(errors.ANALYSIS_UNSUPPORTED, f"node {node.id} does not count how often keys are used", True)
    found: tuple[FoundKey, ...] = ()
    looking = key_analysis.analyse(node, access, subject, arguments.address, in_cluster=arguments.in_cluster)
    try:
        async with aclosing(looking) as progress:
            async for scanned in progress:
                found = scanned.found
                shown = f"{{node_id:{node.id},keys_scanned:{scanned.keys},keys_found:{len(found)}}}"
                step.measure(done=min(scanned.keys, step.sub_step.work.total), detail=shown)
                await step.wait_until_allowed()
    except key_analysis.NotPrimary as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, str(error), True) from error

    def store() -> None:
        with context.database.write() as connection:
            key_analyses.store_found(connection, step.task.id, arguments.address, found)

    await asyncio.to_thread(store)
