"""The files of an import: their sizes, and where they are. Functions raise ActionFailed."""

import asyncio

import msgspec

from cachewright.backups.manifest import Manifest, read_manifest
from cachewright.jobs.migrations.files import FilePlace, failures_of_files
from cachewright.jobs.migrations.shards import ALL_SLOTS, ImportedFile
from cachewright.operations.agent_jobs import failures_of_actions
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.valkey.sources.files import file_size, without_query


async def find_files(run: MigrationRun) -> list[ImportedFile]:
    """Return the files with their sizes."""
    with failures_of_actions(), failures_of_files():
        if run.migration.source_backup is None:
            urls = _urls(run)
            sizes = await asyncio.gather(*(file_size(run.source, url) for url in urls))
            named = zip(map(without_query, urls), sizes, strict=True)
            return [ImportedFile(number, name, size) for number, (name, size) in enumerate(named)]
        shards = enumerate((await _manifest(run)).shards)
        return [
            ImportedFile(number, f"shard {shard.shard}", shard.size, shard.slots or ALL_SLOTS)
            for number, shard in shards
        ]


async def place_of_file(run: MigrationRun, file: ImportedFile) -> FilePlace:
    """Return where a file is."""
    if run.migration.source_backup is None:
        return FilePlace(url=_urls(run)[file.number])
    with failures_of_actions(), failures_of_files():
        manifest = await _manifest(run)
    shards = (manifest.shards[file.number],)
    about_data = msgspec.structs.replace(manifest, password=None, accounts=(), parameters={}, shards=shards)
    return FilePlace(manifest=about_data, storage=run.context.settings.backup_url)


def _urls(run: MigrationRun) -> list[str]:
    return (run.migration.source_files or "").splitlines()


async def _manifest(run: MigrationRun) -> Manifest:
    storage = await run.context.backup_storage()
    return await read_manifest(storage, run.context.database.cipher, run.migration.source_backup or "")
