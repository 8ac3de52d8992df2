"""Actions of imports: fetch a file, load it and copy its keys."""

import asyncio

import msgspec

from cachewright.jobs.migrations.copying import Copying
from cachewright.jobs.migrations.failure import StreamInterrupted
from cachewright.jobs.migrations.gateway_limits import gateway_memory
from cachewright.jobs.migrations.parts import streams_closed_on_failure
from cachewright.jobs.migrations.shards import Shard
from cachewright.operations.actions.action import action
from cachewright.operations.actions.online_migrations import LONGEST_SECONDS
from cachewright.operations.agent_jobs import failures_of_actions
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.files import ImportedFile, ImportFiles
from cachewright.operations.online_migrations.parts import run_here
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.tasks.operation import StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.gateway import GatewayState

_AGAIN_SECONDS = 0.2
_LOADED = 0.3
"""Share of the duration of an import before its gateway has loaded the file."""


class FileArguments(msgspec.Struct, frozen=True):
    file: ImportedFile


@action("fetch file", FileArguments, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def fetch_file(context: OperationContext, step: StepContext, arguments: FileArguments) -> None:
    """Ensure that the gateway of a file has it."""
    files = ImportFiles(await MigrationRun.load(context, step.task))

    def report(stored: int) -> None:
        step.raise_if_cancelled()
        step.measure(done=stored)

    await files.fetch(arguments.file, report)


@action("import file", FileArguments, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def import_file(context: OperationContext, step: StepContext, arguments: FileArguments) -> None:
    """Ensure that the instance has all keys of a file."""
    migration, file = await MigrationRun.load(context, step.task), arguments.file
    run = run_here(migration, step)
    shard, total, keys = Shard(file.number, file.slots), step.sub_step.work.total, 1

    def loading(state: GatewayState) -> None:
        if state.to_load:
            shown = f"{{loaded_bytes:{state.loaded}/{state.to_load}}}"
            step.measure(done=_LOADED * total * min(state.loaded / state.to_load, 1.0), detail=shown)

    def copied(count: int) -> None:
        share = _LOADED + (1 - _LOADED) * min(count / keys, 1.0)
        step.measure(done=share * total, detail=f"{{keys_copied:{count}}}")

    while True:
        try:
            with failures_of_actions(), streams_closed_on_failure(run, (shard,)):
                target = await migration.find_target()
                most = gateway_memory(sum(node.maxmemory for node in target.nodes))
                state = await ImportFiles(migration).loaded(step, file, most, loading)
                keys = max(sum(state.keys.values()), 1)
                copying = Copying(run, shard, await run.file_stream(file.number, state), follows=False)
                copying.require_databases(state.keys)
                await copying.copy_present(copied)
            break
        except (StreamInterrupted, TargetNotReady, *NODE_GONE, NodeRefused) as error:
            await run.note("warning", f"the import of {file.name} was interrupted: {error}")
            step.raise_if_cancelled()
            await asyncio.sleep(_AGAIN_SECONDS)
    await run.note("info", f"the instance has the keys of {file.name}")
    await run.machine.remove_gateway(run.gateway(file.number).name)  # its file is not needed any more
