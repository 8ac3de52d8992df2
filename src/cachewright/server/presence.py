"""Reports of this server to the database, for operators: that it runs, and when it took the claim to perform tasks.

Nothing depends on them. The claim has its own thread and connection (`store/claim.py`).
"""

import asyncio
import logging
import os
import socket

import cachewright
from cachewright.config import Listen, Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.servers import ServerRecord, Takeover
from cachewright.store import server_records
from cachewright.store.database import Database
from cachewright.store.opening import server_id
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0
_SOLE_REPORT_SECONDS = 5.0
"""On SQLite, where a report writes the disk and no other server waits for it."""


class Presence:
    def __init__(self, database: Database, settings: Settings, heartbeats: LoopHeartbeats) -> None:
        self._database = database
        self._settings = settings
        self._heartbeats = heartbeats
        self._id = server_id(settings)
        self._pause = _REPORT_SECONDS if database.is_shared else _SOLE_REPORT_SECONDS
        self._listen = settings.listen.address
        self._started_at: int | None = None

    def listens(self, listen: Listen) -> None:
        """Report this address of the API from now on."""
        self._listen = listen.address

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            self._heartbeats.beat("presence")
            await in_background(self.report)
            await asyncio.sleep(self._pause)

    def report(self) -> None:
        """Store that this server runs, and the begin of its time with the claim. Blocks."""
        claim = self._database.claim
        epoch, cause = claim.epoch, claim.cause
        with self._database.write() as connection:
            now = server_records.now(connection)
            if self._started_at is None:
                self._started_at = now
            server = ServerRecord(
                id=self._id,
                machine=socket.gethostname(),
                pid=os.getpid(),
                release=cachewright.__version__,
                listen=self._listen,
                started_at=self._started_at,
                seen_at=now,
                epoch=epoch,
            )
            if epoch is not None and cause is not None:
                began = Takeover(
                    epoch=epoch, server_id=self._id, machine=server.machine, pid=server.pid, cause=cause, began_at=now
                )
                server_records.add_takeover(connection, began)
            server_records.saw(connection, server)

    def stop(self) -> None:
        """Record that this server has ended, while it still has the claim. No effect without the database. Blocks."""
        epoch = self._database.claim.epoch
        try:
            with self._database.write() as connection:
                server_records.forget(connection, self._id)
                if epoch is not None:
                    server_records.end(connection, epoch, server_records.now(connection))
        except DatabaseUnavailable as error:
            log.warning("the end of this server is not recorded: %s", error)
