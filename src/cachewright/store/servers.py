"""The start of a server beside others on one PostgreSQL database."""

import logging
import time

from cachewright.model.hosts import EMBEDDED
from cachewright.store import hosts
from cachewright.store.claim import LeasedClaim
from cachewright.store.database import DatabaseNotReady
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.server_claims import REPLACE_SECONDS
from cachewright.store.transactions import current_revision, known_revisions

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_FIRST_REVISION = "0037"
"""Earlier tables have no claims. A server that uses them holds a lock."""


def join_servers(database: PostgresDatabase, server_id: str, session: str) -> None:
    """Take the claim if it is free, and begin to keep it or to wait for it. Returns when the tables are those of this
    release.

    Only the server with the claim migrates the tables. While a server of an earlier release uses them, this one waits.

    Raises DatabaseNotReady if the tables are those of a later release, or another server has nodes on its machine that
    this one could not reach. Raises DatabaseUnavailable.
    """
    claim = LeasedClaim(database, server_id, session, is_current=lambda: database.revision() == current_revision())
    database.claim = claim
    _migrate(database, claim)
    if not claim.is_held and not claim.try_take():
        _take_abandoned_nodes(database, claim)
    if not claim.is_held:
        _warn_of_own_host(database)
    claim.start()


def _migrate(database: PostgresDatabase, claim: LeasedClaim) -> None:
    """Bring the tables to this release, when no server of an earlier one uses them any more."""
    announced = False
    while (revision := database.revision()) != current_revision():
        if revision is not None and revision not in known_revisions():
            raise DatabaseNotReady(f"{database.name} is a later release's; upgrade this server")
        has_claims = revision is not None and revision >= _FIRST_REVISION
        if claim.try_take(with_own_nodes=True) if has_claims else claim.lock():
            if claim.is_held:
                claim.start()  # a migration may take longer than a claim is valid
            database.migrate()
            return
        if not announced:
            announced = True
            log.warning("waiting until no server of an earlier release uses %s", database.name)
        time.sleep(_LOOK_SECONDS)


def _warn_of_own_host(database: PostgresDatabase) -> None:
    with database.read() as connection:
        own = hosts.get(connection, EMBEDDED)
    if own and own.state == "active":
        log.warning("the host %s takes new nodes, and no server replaces one that has them: cordon it", EMBEDDED)


def _take_abandoned_nodes(database: PostgresDatabase, claim: LeasedClaim) -> None:
    """If nodes run on the machine of another server, replace that server if it has ended. Raises DatabaseNotReady if it
    has not."""
    deadline = time.monotonic() + REPLACE_SECONDS + 1
    while (count := claim.nodes_out_of_reach()) and not claim.try_take(with_own_nodes=True):
        if time.monotonic() > deadline:
            holder = claim.look()
            raise DatabaseNotReady(
                f"another server runs on {database.name}, and {count} nodes on its machine {holder.machine} have no "
                "agent: a second server needs nodes that agents run"
            )
        time.sleep(_LOOK_SECONDS)
