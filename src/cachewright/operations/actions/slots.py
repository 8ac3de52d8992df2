"""The sub-step that moves one slot range, and what its `detail` says."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from cachewright import errors
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext, best_view
from cachewright.tasks.operation import CANCELLED, ActionFailed, StepContext
from cachewright.valkey.migration.mover import MigrationFailed, Mover, Next
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
_LOST = errors.MIGRATION_INTERRUPTED


def detail(source: str, part: SlotRange, transfer: Transfer, keys_planned: int) -> str:
    """The contract's brace form, and behind it how many keys and bytes have arrived."""
    return (
        f"{{node_id:{source},slot_range:[{part.first} {part.last}],"
        f"full_migration:{transfer.full},inc_migration:{transfer.increment},"
        f"keys:{transfer.keys}/{max(keys_planned, transfer.keys)},bytes:{transfer.bytes}}}"
    )


def waiting_detail(source: str, part: SlotRange, keys_planned: int) -> str:
    waiting = Transfer(full="to start", increment="to start", keys=0, bytes=0, share=0.0)
    return detail(source, part, waiting, keys_planned)


def _leads(nodes: Sequence[Node], seen: Mapping[str, View | None], *planned: str) -> list[Node]:
    """Who is master now in the shards of the nodes that were planned with: a replica may have taken over since."""
    masters = primaries(nodes, best_view(seen))
    shards = {node.id: node.shard for node in nodes}
    missing = [node_id for node_id in planned if shards.get(node_id) not in masters]
    if missing:
        raise ActionFailed(errors.MIGRATION_INTERRUPTED, f"the shard of node {missing[0]} has no master now")
    return [masters[shards[node_id]] for node_id in planned]


class _Hold:
    """A task's control, as a move is told of it."""

    def __init__(self, running: StepContext) -> None:
        self._running = running

    async def before_pieces(self, too_much: Callable[[float], Awaitable[bool]]) -> None:
        await self._running.proceed(too_much)

    def gently(self) -> bool:
        return self._running.gently

    def cancelled(self) -> bool:
        return self._running.cancelled

    async def hindered(self) -> bool:
        return await self._running.hindered()

    def prioritizes_speed(self) -> bool:
        return self._running.prioritizes_speed


def _next(running: StepContext, nodes: Sequence[Node], seen: Mapping[str, View | None], source: Node) -> Next | None:
    following = running.following
    if following is None:
        return None
    arguments = following.arguments
    giver, target = _leads(nodes, seen, arguments["source"], arguments["target"])
    return Next(target, SlotRange(arguments["first"], arguments["last"])) if giver == source else None


async def move(site: OperationContext, running: StepContext) -> None:
    """Returns when the target owns the range.

    `arguments`: source, target (node ids), first, last (slots), keys, bytes_per_key.
    """
    arguments, task = running.sub_step.arguments, running.task
    instance, nodes, seen = await site.look(task)
    part = SlotRange(arguments["first"], arguments["last"])
    source, target = _leads(nodes, seen, arguments["source"], arguments["target"])

    def report(transfer: Transfer) -> None:
        said = detail(source.id, part, transfer, arguments["keys"])
        running.measure(done=transfer.share * running.sub_step.work.total, detail=said)

    mover = Mover(
        source,
        target,
        part,
        access=site.access(instance),
        bytes_per_key=arguments["bytes_per_key"],
        hold=_Hold(running),
        stalled_seconds=running.policy.stalled,
        state=site.migrations,
        after=_next(running, nodes, seen, source),
    )
    try:
        await mover.ensure(report)
    except MigrationFailed as failure:
        if running.cancelled:
            raise ActionFailed(CANCELLED, "cancelled; what has not moved stays where it was", True) from failure
        said = str(failure)
        code = next((code for words, code in _CODES if words in said.lower()), _LOST)
        failed = Transfer(full="failed", increment="failed", keys=0, bytes=0, share=0.0)
        report(failed)
        raise ActionFailed(
            code, f"{detail(source.id, part, failed, arguments['keys'])[:-1]},reason:{said}}}"
        ) from failure
