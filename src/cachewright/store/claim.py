"""The claim of this process to perform tasks, as it takes, renews and loses it. For servers on PostgreSQL.

A thread of its own renews the claim, or waits to take it. A process that has lost it ends immediately; its successor
does what it was about to do. Before that, it changes nothing:
- a write transaction reads the epoch after it has taken the write lock (`store/postgres.py`);
- commands to nodes of other machines require a valid claim, whose time is over before the successor begins. Nodes of
  this machine need none: no other server takes the claim while they exist, or reaches them;
- agents refuse changes with an earlier epoch.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from cachewright.clock import boot_time
from cachewright.errors import DatabaseUnavailable
from cachewright.model.servers import TakeoverCause
from cachewright.store import server_claims
from cachewright.store.driver_errors import translate_errors
from cachewright.store.server_claims import RENEW_SECONDS, REPLACE_SECONDS, VALID_SECONDS, ClaimWatch, ServerClaim
from cachewright.store.transactions import SqlDatabase

log = logging.getLogger(__name__)

LOCK_CLASS = 0x43414348
"""First half of the keys of advisory locks. It separates them from locks of other programs."""

_SERVER_LOCK = 2
"""Held by the server with the claim. Earlier releases know this lock alone, and do not start while it is held."""

_LOOK_SECONDS = 0.5
_LOCK_SECONDS = 2.0
"""Time in which a session that was ended releases the lock."""

_LOCK_POLL_SECONDS = 0.05

_STOP_SECONDS = 5.0
_ACTIVITY = sa.table("pg_stat_activity", sa.column("pid"), sa.column("usename"), sa.column("application_name"))
"""Sessions that PostgreSQL lists."""


def new_session_name() -> str:
    """Return a name for the database sessions of this process, by which its successor ends them."""
    return f"cachewright {secrets.token_hex(8)}"


class LeasedClaim:
    """Implements `Claim`."""

    def __init__(
        self,
        database: SqlDatabase,
        server_id: str,
        session: str,
        *,
        is_current: Callable[[], bool] = lambda: True,
        end_process: Callable[[str], None] | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        """:param server_id: identifies the data directory, which only this process uses.
        :param session: name of the database sessions of this process.
        :param is_current: whether the tables are those of this release. Blocks.
        :param end_process: ends this process for a reason.
        """
        self.epoch: int | None = None
        self.cause: TakeoverCause | None = None
        self._database = database
        self._server_id = server_id
        self._session = session
        self._is_current = is_current
        self._end_process = end_process or _end_process
        self._clock = clock
        self._watch = ClaimWatch(server_id, clock)
        self._renewed_at = float("-inf")
        self._is_released = False
        self._connection: sa.Connection | None = None
        self._warned = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="claim", daemon=True)

    @property
    def is_held(self) -> bool:
        return self.epoch is not None

    def require(self, *, ending: bool = False) -> None:
        if self.epoch is None:
            return
        if self._is_released or (self._stopped.is_set() and not ending):
            raise DatabaseUnavailable("this server is stopping")
        seconds = REPLACE_SECONDS if ending else VALID_SECONDS
        if self._clock() > self._renewed_at + seconds:
            raise DatabaseUnavailable(f"the claim to perform tasks was not renewed for {seconds:g} s")

    def lost(self) -> None:
        """End this process, because another server has taken the claim."""
        if not self._stopped.is_set():
            self._end_process(f"another server performs the tasks of {self._database.name} now; this one stops")

    def try_take(self, *, with_own_nodes: bool = False) -> bool:
        """Take the claim if its holder has released it or renews it no more. Raises DatabaseUnavailable.

        Nodes on the machine of the former holder, without an agent, are out of this server's reach. Then it takes the
        claim only `with_own_nodes`.
        """
        with translate_errors():
            began = self._clock()
            seen = self.look()
            if not self._watch.may_take(seen, began, has_sessions=self._is_copied(seen)):
                return False
            if not with_own_nodes and (count := self.nodes_out_of_reach()):
                self._warn_once(f"{count} nodes on {seen.machine} have no agent: this server does not take the claim")
                return False
            return self._take(seen, began)

    def look(self) -> ServerClaim:
        """Read the claim. Raises DatabaseUnavailable."""
        with self._database.read() as connection:
            return server_claims.get(connection)

    def nodes_out_of_reach(self) -> int:
        """Return the number of nodes on the machine of another server, without an agent. Raises DatabaseUnavailable."""
        with self._database.read() as connection:
            is_own = server_claims.get(connection).server_id in {"", self._server_id}
            return 0 if is_own else server_claims.own_nodes(connection)

    def lock(self) -> bool:
        """Take the lock that earlier releases know. False if another server holds it. Raises DatabaseUnavailable."""
        with translate_errors():
            deadline = self._clock() + _LOCK_SECONDS
            while not self._try_lock():
                if self._clock() > deadline:
                    return False
                time.sleep(_LOCK_POLL_SECONDS)
            return True

    def start(self) -> None:
        """Renew the claim, or wait to take it, until `stop`. No effect the second time."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Release the claim, so that another server takes it without waiting."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
            if self._thread.is_alive():
                return  # it waits for the database
        if self.epoch is not None and self._connection is not None:
            self._is_released = True
            try:
                with translate_errors():
                    server_claims.release(self._connection, self.epoch, self._session)
            except DatabaseUnavailable as error:
                log.warning("the claim to perform tasks is not released: %s", error)
        self._drop_connection()

    def _take(self, seen: ServerClaim, began: float) -> bool:
        """Take the claim as it was seen."""
        if self.look() != seen:  # this process may have stood still since it saw it
            return False
        self._end_sessions(seen.session)
        if not self.lock():
            return False
        with self._database.write() as connection:
            epoch = server_claims.take(connection, seen, self._server_id, self._session, socket.gethostname())
        if epoch is None:
            self._drop_connection()
            return False
        self._renewed_at = began
        self.cause = server_claims.cause(seen, self._server_id)
        self.epoch = epoch
        return True

    def _end_sessions(self, name: str) -> None:
        """End the sessions of the former holder. A frozen process may hold locks in an open transaction; and without
        them it cannot continue a statement when it wakes."""
        if name in {"", self._session}:  # this process took it, but did not get the answer
            return
        ending = sa.select(sa.func.pg_terminate_backend(_ACTIVITY.c.pid)).where(_is_own_session(name))
        with self._database.read() as connection:
            connection.execute(ending).all()

    def _is_copied(self, seen: ServerClaim) -> bool:
        """Whether the holder has this server's data directory, but is another process, which has sessions."""
        if seen.server_id != self._server_id or seen.session == self._session:
            return False
        found = sa.select(sa.func.count()).select_from(_ACTIVITY).where(_is_own_session(seen.session))
        with self._database.read() as connection:
            return bool(connection.execute(found).scalar_one())

    def _warn_once(self, text: str) -> None:
        if text != self._warned:
            self._warned = text
            log.warning("%s", text)

    def _keep(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                with translate_errors():
                    pause = self._wait_for_it() if self.epoch is None else self._renew(self.epoch)
            except DatabaseUnavailable as error:
                log.warning("the claim to perform tasks cannot be %s: %s", "renewed" if self.epoch else "read", error)
                self._watch.missed()
                pause = 0.0 if self._connection else _LOOK_SECONDS  # a lost session tells nothing about a new one
                self._drop_connection()
            except Exception:
                log.exception("the claim to perform tasks cannot be kept")
                pause = _LOOK_SECONDS

    def _wait_for_it(self) -> float:
        """Take the claim if it may be taken. Return the pause before the next step."""
        if not self._is_current():
            self._end_process(
                f"the tables of {self._database.name} are now those of a later release; this server stops"
            )
        elif self.try_take():
            log.warning("this server performs the tasks of %s now", self._database.name)
            return RENEW_SECONDS
        return _LOOK_SECONDS

    def _renew(self, epoch: int) -> float:
        """Renew the claim. Return the pause before the next step."""
        began, reconnects = self._clock(), self._connection is None
        if server_claims.renew(self._session_connection(), epoch, self._session):
            self._renewed_at = began
        else:
            self.lost()
        if reconnects:
            self._try_lock()  # the lost session had it
        return RENEW_SECONDS

    def _try_lock(self) -> bool:
        taking = sa.select(sa.func.pg_try_advisory_lock(LOCK_CLASS, _SERVER_LOCK))
        return bool(self._session_connection().execute(taking).scalar_one())

    def _session_connection(self) -> sa.Connection:
        """Return the connection of the claim, which no other thread uses meanwhile."""
        if self._connection is None:
            self._connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # ends the session, and with it the lock
            connection.close()


def _is_own_session(name: str) -> sa.ColumnElement[bool]:
    """Return the condition for sessions of this name and of the servers' role. Those of an agent may have any name, and
    servers may not end them."""
    return sa.and_(_ACTIVITY.c.usename == sa.func.current_user(), _ACTIVITY.c.application_name == name)


def _end_process(reason: str) -> None:
    """End this process without any further step of it. Its nodes keep running."""
    log.critical("%s", reason)
    os._exit(os.EX_TEMPFAIL)  # the service manager should start the server again
