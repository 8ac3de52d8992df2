"""The work of the sub-steps of an import: fetch a file, load it and copy its keys."""

import asyncio

from cachewright.jobs.migrations.copying import Copying
from cachewright.jobs.migrations.failure import StreamInterrupted
from cachewright.jobs.migrations.files import FileOfImport
from cachewright.jobs.migrations.gateway_limits import gateway_memory
from cachewright.jobs.migrations.parts import streams_closed_on_failure
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.migrations.shards import FetchFile, ImportFile, Shard
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.gateway import GatewayState

_AGAIN_SECONDS = 0.2
_LOADED = 0.3
"""Share of the duration of an import before its gateway has loaded the file."""


async def perform(run: SourceRun, part: FetchFile | ImportFile, found: FileOfImport, total: float) -> None:
    """Perform a part. Raises JobFailed.

    :param total: see `Work.total` of the sub-step.
    """
    if isinstance(part, ImportFile):
        await _import(run, part, found, total)
        return

    def report(stored: int) -> None:
        run.caller.raise_if_cancelled()
        run.caller.measure(done=stored)

    await found.fetch(report)


async def _import(run: SourceRun, part: ImportFile, found: FileOfImport, total: float) -> None:
    """Ensure that the instance has all keys of a file."""
    file, keys = part.file, 1
    shard = Shard(file.number, file.slots)

    def loading(state: GatewayState) -> None:
        if state.to_load:
            shown = f"{{loaded_bytes:{state.loaded}/{state.to_load}}}"
            run.caller.measure(done=_LOADED * total * min(state.loaded / state.to_load, 1.0), detail=shown)

    def copied(count: int) -> None:
        share = _LOADED + (1 - _LOADED) * min(count / keys, 1.0)
        run.caller.measure(done=share * total, detail=f"{{keys_copied:{count}}}")

    while True:
        try:
            with streams_closed_on_failure(run, (shard,)):
                target = await run.caller.find_target()
                most = gateway_memory(sum(node.maxmemory for node in target.nodes))
                state = await found.loaded(most, loading)
                keys = max(sum(state.keys.values()), 1)
                copying = Copying(run, shard, await run.file_stream(file.number, state), follows=False)
                copying.require_databases(state.keys)
                await copying.copy_present(copied)
            break
        except (StreamInterrupted, TargetNotReady, *NODE_GONE, NodeRefused) as error:
            await run.note("warning", f"the import of {file.name} was interrupted: {error}")
            run.caller.raise_if_cancelled()
            await asyncio.sleep(_AGAIN_SECONDS)
    await run.note("info", f"the instance has the keys of {file.name}")
    await run.machine.remove_gateway(run.gateway(file.number).name)  # its file is not needed any more
