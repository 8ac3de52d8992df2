"""The action that moves one slot range, and the detail that it shows."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import DEFAULT_MODE, MigrationMode, Task
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.slot_moves.equal_nodes import Follower, joined_in
from cachewright.operations.slot_moves.failover_delay import delayed_failover
from cachewright.operations.slot_moves.move_hazards import watch_hazards
from cachewright.operations.slot_moves.rewrites import allowed_after_last_move
from cachewright.operations.slot_moves.silent_nodes import SilentNodes
from cachewright.tasks.operation import CANCELLED, ActionFailed, StepContext
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.mover import Move, Mover, Next
from cachewright.valkey.migration.open_slots import close_imports_before_move, complete_open_slots
from cachewright.valkey.migration.range_size import BatchCost, LargeValues, RangeSize
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import View, primaries

_CODES = (
    ("out of memory", errors.MIGRATION_OUT_OF_MEMORY),
    ("oom", errors.MIGRATION_OUT_OF_MEMORY),
    ("no space", errors.NOT_ENOUGH_DISK),
    ("append-only", errors.NOT_ENOUGH_DISK),
    ("no progress", errors.SUB_STEP_TIMEOUT),
    ("cancel", errors.TASK_CANCELLED),
)
"""Error codes by words of the failure, in lower case. The first match counts; without one it is `_OTHER_FAILURE`."""

_OTHER_FAILURE = errors.MIGRATION_INTERRUPTED


class MoveSlots(msgspec.Struct, frozen=True, kw_only=True):
    """Slots `first` to `last`, both included.

    :ivar source: id of the node that owned them when the plan was made; :ivar target: of the node that gets them.
    :ivar keys: number of keys in them.
    :ivar bytes_per_key: bytes that one of these keys takes on the network, without those of `large`.
    :ivar spared: whether the plan protects the clients of the source. Stored plans have this name, so it cannot change.
    :ivar large: large values by slot.
    :ivar small_batches: cost of small batches, :ivar large_batches: of large ones, :ivar small_share: see `RangeSize`.
    :ivar mode: mode of the task when the plan was made.
    """

    source: str
    target: str
    first: int
    last: int
    keys: int
    bytes_per_key: float
    spared: bool = False
    large: Mapping[int, LargeValues] = {}
    small_batches: BatchCost = BatchCost()
    large_batches: BatchCost = BatchCost()
    small_share: float = 1.0
    mode: MigrationMode = DEFAULT_MODE

    @property
    def slot_range(self) -> SlotRange:
        return SlotRange(self.first, self.last)

    @property
    def size(self) -> RangeSize:
        return RangeSize(
            keys=self.keys,
            bytes_per_key=self.bytes_per_key,
            large=self.large,
            small_batches=self.small_batches,
            large_batches=self.large_batches,
            small_share=self.small_share,
        )


@action("move slots", MoveSlots, timeout=6 * 3600, attempts=6, first_delay=1.0, stalled=60, cancelling=15)
async def move_slots(context: OperationContext, step: StepContext, arguments: MoveSlots) -> None:
    """Move a slot range. Returns once the target owns all of it."""
    instance, nodes = await context.instance_and_nodes(step.task)
    planned = [node for node in nodes if node.id in {arguments.source, arguments.target}]
    silent_nodes = SilentNodes(step, planned, context.access(instance))
    async with silent_nodes.watching():
        await _move(context, step, arguments, instance=instance, nodes=nodes, silent_nodes=silent_nodes)


async def _move(
    context: OperationContext,
    step: StepContext,
    arguments: MoveSlots,
    *,
    instance: Instance,
    nodes: list[Node],
    silent_nodes: SilentNodes,
) -> None:
    # Another source may be silent for seconds, while it deletes what it has handed over.
    views = await context.views(instance, nodes, enough={arguments.source, arguments.target})
    source, target = silent_nodes.nodes = _current_primaries(nodes, views, arguments)
    access = context.access(instance)

    def report(transfer: Transfer) -> None:
        shown = detail(source.id, arguments.slot_range, transfer, arguments.keys)
        total = step.sub_step.work.total
        step.measure(
            done=transfer.share * total,
            detail=shown,
            uncounted=transfer.uncounted * total,
            uncounted_busy=transfer.deletion * total,
            scale=_scale(step, arguments, transfer),
        )

    move = Move(
        source=source,
        target=target,
        part=arguments.slot_range,
        access=access,
        size=arguments.size,
        control=step,
        stalled_seconds=step.policy.stalled,
        state=context.migrations,
        following=_following(step, nodes, views, source),
        share=context.migrations.batch_share(instance.id, clients=arguments.spared),
        to_new_node=target.created_at >= step.task.created_at,
    )
    old_primaries = _old_primaries(step.task, nodes, views)
    follower = Follower(source=source, target=target, old_primaries=old_primaries, access=access)
    try:
        async with (
            allowed_after_last_move(step, context.migrations, nodes, access),
            watch_hazards(context, step, arguments.slot_range, (source, target), access),
            delayed_failover((source, target), nodes, access, context.host),
            follower.following(),
        ):
            if (view := views[source.id]) is None:
                raise MigrationFailed([f"node {source.id} does not answer"])
            await complete_open_slots(source, view, current_primary(nodes, views), access, context.migrations)
            if (at_target := views[target.id]) and at_target.members[target.id].importing:
                await close_imports_before_move(target, nodes, access, context.migrations)
            await Mover(move).ensure(report)
    except MigrationFailed as failure:
        if step.is_cancelled():
            message = "cancelled; slots that have not moved stay with their source"
            raise ActionFailed(CANCELLED, message, True) from failure
        failed = Transfer(full="failed", increment="failed", keys=0, bytes=0, share=0.0)
        report(failed)
        reason = str(failure)
        code = next((code for words, code in _CODES if words in reason.lower()), _OTHER_FAILURE)
        shown = detail(source.id, arguments.slot_range, failed, arguments.keys)
        raise ActionFailed(code, f"{shown[:-1]},reason:{reason}}}") from failure


def detail(source: str, part: SlotRange, transfer: Transfer, planned_keys: int) -> str:
    """The contract's brace form, followed by the keys and bytes that have arrived."""
    return (
        f"{{node_id:{source},slot_range:[{part.first} {part.last}],"
        f"full_migration:{transfer.full},inc_migration:{transfer.increment},"
        f"keys:{transfer.keys}/{max(planned_keys, transfer.keys)},bytes:{transfer.bytes}}}"
    )


def waiting_detail(source: str, part: SlotRange, planned_keys: int) -> str:
    """The detail before the move starts."""
    waiting = Transfer(full="to start", increment="to start", keys=0, bytes=0, share=0.0)
    return detail(source, part, waiting, planned_keys)


def _current_primaries(
    nodes: Sequence[Node], views: Mapping[str, View | None], arguments: MoveSlots
) -> tuple[Node, Node]:
    """The primaries of the shards of source and target: since the plan was made, a replica may have taken over."""
    primary_of = current_primary(nodes, views)
    return primary_of(arguments.source), primary_of(arguments.target)


def current_primary(nodes: Sequence[Node], views: Mapping[str, View | None]) -> Callable[[str], Node]:
    """Return a function that finds the present primary of the shard of a node, by its id. ActionFailed DCS.9003 if
    there is none."""
    by_shard = primaries(nodes, best_view(views))
    shards = {node.id: node.shard for node in nodes}

    def primary_of(node_id: str) -> Node:
        if shards.get(node_id) not in by_shard:
            raise ActionFailed(errors.MIGRATION_INTERRUPTED, f"the shard of node {node_id} has no primary now")
        return by_shard[shards[node_id]]

    return primary_of


def _old_primaries(task: Task, nodes: Sequence[Node], views: Mapping[str, View | None]) -> list[Node]:
    """Primaries of the shards that were in the instance before the task."""
    joined = joined_in(task)
    new_shards = {node.shard for node in nodes if node.id in joined and node.role == "primary"}
    by_shard = primaries(nodes, best_view(views))
    return [node for shard, node in by_shard.items() if shard not in new_shards]


def _following(step: StepContext, nodes: Sequence[Node], views: Mapping[str, View | None], source: Node) -> Next | None:
    """The next range of the same source in the plan."""
    sub_step = step.following
    if sub_step is None:
        return None
    arguments = move_slots.decode(sub_step.arguments)
    next_source, target = _current_primaries(nodes, views, arguments)
    if next_source != source:
        return None

    def report(transfer: Transfer) -> None:
        total = sub_step.work.total
        step.measure_ahead(
            sub_step.id,
            transfer.share * total,
            uncounted=transfer.uncounted * total,
            uncounted_busy=transfer.deletion * total,
            scale=_scale(step, arguments, transfer),
        )

    return Next(target, arguments.slot_range, arguments.size, report)


def _scale(step: StepContext, arguments: MoveSlots, transfer: Transfer) -> float | None:
    """The plan states the effort in other modes by itself."""
    return transfer.scale if step.mode() == arguments.mode else 1.0
