"""Actions of imports: fetch a file, load it and copy its keys."""

from cachewright.jobs.migrations.shards import FetchFile, ImportFile
from cachewright.operations.actions.action import action
from cachewright.operations.actions.online_migrations import LONGEST_SECONDS
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.parts import perform
from cachewright.tasks.operation import StepContext


@action("fetch file", FetchFile, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def fetch_file(context: OperationContext, step: StepContext, arguments: FetchFile) -> None:
    """Ensure that the gateway of a file has it."""
    await perform(context, step, arguments)


@action("import file", ImportFile, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def import_file(context: OperationContext, step: StepContext, arguments: ImportFile) -> None:
    """Ensure that the instance has all keys of a file."""
    await perform(context, step, arguments)
