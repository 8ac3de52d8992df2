"""Actions of a restore: fetch the snapshots of a backup, make the data of a node from them, and load it."""

import asyncio
import threading
import time
from collections.abc import Mapping

import msgspec

from cachewright import errors
from cachewright.concurrency import until_ended
from cachewright.hosts.jobs import JobState
from cachewright.jobs.restores import with_keys_of
from cachewright.jobs.results import Made
from cachewright.jobs.spec import MakeData
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.actions.nodes import StartNode, launch, take_slots, wait_until_answering
from cachewright.operations.agent_jobs import perform, told
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import node_detail
from cachewright.operations.restore_files import RestoreFiles
from cachewright.operations.restore_folders import (
    delete_former,
    delete_new,
    exchange_data,
    former_folder,
    new_folder,
    work_folder,
)
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused
from cachewright.valkey.config import data_files
from cachewright.valkey.rdb_cut import Cut
from cachewright.valkey.single_request import info
from cachewright.valkey.slots import SlotRange

_POLL_SECONDS = 0.05
_STOP_SECONDS = 120.0
_DAY_SECONDS = 24 * 3600


class FetchSnapshot(msgspec.Struct, frozen=True):
    backup_id: str
    shard: int


class NodeData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a node: the keys that a backup has in these ranges of slots; None for all its keys.

    :ivar founding: the node is one of those that a new instance begins with.
    """

    backup_id: str
    node_id: str
    slots: tuple[tuple[int, int], ...] | None = None
    founding: bool = False

    @property
    def ranges(self) -> list[SlotRange] | None:
        return None if self.slots is None else [SlotRange(first, last) for first, last in self.slots]


@action("fetch snapshot", FetchSnapshot, timeout=_DAY_SECONDS, attempts=4, first_delay=2.0, cancelling=5)
async def fetch_snapshot(context: OperationContext, step: StepContext, arguments: FetchSnapshot) -> None:
    """Ensure that the snapshot of one shard of a backup is on the server's disk, verified."""
    await step.wait_until_allowed()
    files = RestoreFiles(context, step.task.id)
    manifest = await files.data_manifest(arguments.backup_id)
    shard = next(shard for shard in manifest.shards if shard.shard == arguments.shard)

    def report(done: int) -> None:
        step.raise_if_cancelled()
        step.measure(done=done, detail=f"{{bytes:{done}/{shard.size}}}")

    await files.fetch(manifest, shard, report)


@action("make data", NodeData, timeout=_DAY_SECONDS, attempts=4, cancelling=10)
async def make_data(context: OperationContext, step: StepContext, arguments: NodeData) -> None:
    """Ensure that a node has the folder of its new data beside its present one. ActionFailed if the data is larger than
    the memory of the node."""
    await step.wait_until_allowed()
    node = await context.node(step.task.instance_id, arguments.node_id)
    if node is None:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {arguments.node_id} does not exist", True)
    if await context.host.has_file(node.id, former_folder(step.task.id)):
        message = f"node {node.id} still has its data from before an earlier attempt, in {former_folder(step.task.id)}"
        raise ActionFailed(errors.TASK_STATE_CONFLICT, f"{message}; request another restore", True)
    files = RestoreFiles(context, step.task.id)
    if node.host_name != EMBEDDED:
        await _make_elsewhere(context, step, node, arguments, files)
        return
    folder = new_folder(step.task.id)
    if await context.host.has_file(node.id, folder):
        return
    planned = await files.cut(arguments.ranges)
    if planned.size > node.maxmemory:
        message = f"node {node.id} would get {planned.size} bytes of the backup, its memory is {node.maxmemory}"
        raise ActionFailed(errors.SHARDS_TOO_FULL, message, True)
    await _Writing(context, step, node, planned).write(files)


async def _make_elsewhere(
    context: OperationContext, step: StepContext, node: Node, arguments: NodeData, files: RestoreFiles
) -> None:
    """Let the agent of the node's host fetch the snapshots and make the data."""
    if await files.keys(node.id) is not None:
        return
    manifest = await files.data_manifest(arguments.backup_id)
    shards = with_keys_of(manifest.shards, arguments.slots)
    about_data = msgspec.structs.replace(manifest, password=None, accounts=(), parameters={}, shards=shards)
    job = MakeData(
        folder=work_folder(step.task.id),
        storage=context.settings.backup_url,
        manifest=about_data,
        slots=arguments.slots,
        target=new_folder(step.task.id),
        most_bytes=node.maxmemory,
    )

    def progress(state: JobState) -> None:
        made = told(state, Made)
        detail = node_detail(node, {"bytes": made.written, "keys": made.keys})
        step.measure(done=made.share * step.sub_step.work.total, detail=detail)

    state = await perform(context, step, node, job, progress)
    await files.store_keys(node.id, told(state, Made).keys)


class _Writing:
    """The folder of a node's data while it is written on a thread."""

    def __init__(self, context: OperationContext, step: StepContext, node: Node, planned: Cut) -> None:
        self._context = context
        self._step = step
        self._node = node
        self._planned = planned
        self._written = 0
        self._stopped = threading.Event()

    async def write(self, files: RestoreFiles) -> None:
        """Write the folder. When the attempt is interrupted, the thread ends before this returns: the next attempt
        writes the same files."""
        content = data_files(files.parts(self._planned, self._count))
        folder = new_folder(self._step.task.id)
        writing = asyncio.create_task(self._context.host.write_folder(self._node.id, folder, content))
        try:
            while not writing.done():
                self._report()
                await asyncio.wait([writing], timeout=_POLL_SECONDS)
        finally:
            self._stopped.set()
            await until_ended(writing)
        try:
            await writing
        except OSError as error:
            message = f"the data of node {self._node.id} cannot be written: {error.strerror}"
            raise ActionFailed(errors.NOT_ENOUGH_DISK, message) from error
        self._report()

    def _count(self, written: int) -> None:
        """Called on the thread."""
        self._written = written
        if self._stopped.is_set():
            raise InterruptedError("the attempt has ended")

    def _report(self) -> None:
        self._step.raise_if_cancelled()
        share = self._written / max(self._planned.size, 1)
        figures = {"bytes": self._written, "keys": self._planned.keys}
        self._step.measure(done=share * self._step.sub_step.work.total, detail=node_detail(self._node, figures))


@action("load data", NodeData, timeout=_DAY_SECONDS, attempts=3, cancelling=10)
async def load_data(context: OperationContext, step: StepContext, arguments: NodeData) -> None:
    """Ensure that a node runs with its new data, whose keys are counted. Its former data is kept.

    A node of an existing instance is recorded as one that should not run: clients may not use it before `take_over`.
    """
    task = step.task
    await exchange_data(context, task.id, arguments.node_id, _STOP_SECONDS)
    instance = await context.instance(task)
    is_cluster = topology_of(instance.spec_code).is_cluster
    start = StartNode(arguments.node_id, founding=arguments.founding and is_cluster)
    instance, node = await launch(context, step, start, closed=not arguments.founding)
    said = await _loaded(context, step, instance, node)
    node = await wait_until_answering(context, instance, node)
    files = RestoreFiles(context, task.id)
    keys = await files.keys(node.id)
    if keys is None:
        keys = (await files.cut(arguments.ranges)).keys
    found = int(said["rdb_last_load_keys_loaded"]) + int(said["rdb_last_load_keys_expired"])
    if found != keys:
        message = f"node {node.id} has loaded {found} keys, the backup has {keys} for it"
        raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
    _require_memory(node, said)
    await take_slots(context, instance, node, start)


async def _loaded(context: OperationContext, step: StepContext, instance: Instance, node: Node) -> Mapping[str, str]:
    """Return what the node says about its memory and its files when it has loaded its data."""
    access = context.access(instance)
    seen, moved_at = 0, time.monotonic()
    while True:
        step.raise_if_cancelled()
        if time.monotonic() - moved_at > step.policy.stalled:
            raise ActionFailed(errors.SUB_STEP_TIMEOUT, f"node {node.id} makes no progress while it loads its data")
        node = await context.started_with_socket(node)
        try:
            said = await info(node, access, ("persistence", "memory"), ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused):
            if await context.host.process(node.id) is None:
                message = f"node {node.id} has died while it was loading its data"
                raise ActionFailed(errors.NODE_START_FAILED, message) from None
        else:
            if said["loading"] == "0":
                return said
            _require_memory(node, said)
            loaded, whole = int(said["loading_loaded_bytes"]), max(int(said["loading_total_bytes"]), 1)
            done = min(loaded / whole, 1.0) * step.sub_step.work.total
            if loaded > seen:
                seen, moved_at = loaded, time.monotonic()
            step.measure(done=done, detail=node_detail(node, {"loaded_bytes": loaded, "of_bytes": whole}))
        await asyncio.sleep(_POLL_SECONDS)


def _require_memory(node: Node, said: Mapping[str, str]) -> None:
    """ActionFailed DCS.9008 if the node holds more than its memory limit, which Valkey does not enforce at a load."""
    used = int(said["used_memory"])
    if used > node.maxmemory:
        message = f"node {node.id} holds {used} bytes with the data of the backup, its memory is {node.maxmemory}"
        raise ActionFailed(errors.SHARDS_TOO_FULL, message, True)


@action("delete restore files", NoArguments, timeout=600, attempts=4)
async def delete_files(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Delete what the task has stored on the server's disk, and the former data of the nodes. Those of a host that does
    not answer are deleted later."""
    task_id, nodes = step.task.id, await context.nodes(step.task.instance_id)
    new = [node.id for node in nodes if not await delete_new(context, task_id, node)]
    former = [node.id for node in nodes if not await delete_former(context, task_id, node)]
    files = RestoreFiles(context, task_id)
    await files.delete_divided()
    await files.delete(new=new, former=former)
