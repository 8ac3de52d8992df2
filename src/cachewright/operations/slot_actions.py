"""The sub-step that moves one slot range, and what its `detail` says."""

from cachewright.operations.site import Site
from cachewright.tasks.operation import ActionFailed, Running
from cachewright.valkey.migration import MigrationFailed, Mover, Transfer
from cachewright.valkey.slots import SlotRange

_CODES = (("out of memory", "DCS.9002"), ("oom", "DCS.9002"), ("no space", "DCS.9007"), ("cancel", "DCS.9005"))
_LOST = "DCS.9003"


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


async def move(site: Site, running: Running) -> None:
    """Returns when the target owns the range.

    `arguments`: source, target (node ids), first, last (slots), keys, bytes_per_key.
    """
    arguments, task = running.sub_step.arguments, running.task
    instance = await site.instance(task)
    nodes = {node.id: node for node in await site.nodes(task.instance_id)}
    part = SlotRange(arguments["first"], arguments["last"])
    source, target = nodes[arguments["source"]], nodes[arguments["target"]]

    def report(transfer: Transfer) -> None:
        said = detail(source.id, part, transfer, arguments["keys"])
        running.measure(done=transfer.share * running.sub_step.work.total, detail=said)

    mover = Mover(source, target, part, instance.password, arguments["bytes_per_key"])
    try:
        await mover.ensure(report)
    except MigrationFailed as failure:
        said = str(failure)
        code = next((code for words, code in _CODES if words in said.lower()), _LOST)
        failed = Transfer(full="failed", increment="failed", keys=0, bytes=0, share=0.0)
        report(failed)
        raise ActionFailed(
            code, f"{detail(source.id, part, failed, arguments['keys'])[:-1]},reason:{said}}}"
        ) from failure
