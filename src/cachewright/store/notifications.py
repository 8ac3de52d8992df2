"""Messages between processes that share a PostgreSQL database, by LISTEN and NOTIFY. A message may be lost: the
receiver also polls.

Every session may listen to every channel whose name it knows. So names of channels end with what only sender and
receiver know: what `server_coordination` has, or the key by which calls to an agent are encrypted.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping

import psycopg
import psycopg.sql
import sqlalchemy as sa

from cachewright.errors import DatabaseUnavailable
from cachewright.logs import RARELY
from cachewright.store.database import Database
from cachewright.store.postgres import connect_arguments
from cachewright.store.tables import server_coordination

log = logging.getLogger(__name__)

_CALLS = "cachewright_calls_"
"""Channels of calls to agents, one for each. Their messages are empty."""

_TASKS = "cachewright_tasks_"
"""Channel of new tasks, for the server that performs them. The message is the id of the task."""

_CHANGES = "cachewright_changes_"
"""Channel of changes of tasks, which a trigger of the table sends. The message is the id of the task and that of its
instance."""

_WAIT_SECONDS = 1.0


def calls_channel(public_key: str) -> str:
    """Return the channel of calls to the agent with this public key, which other agents do not know."""
    return _CALLS + hashlib.sha256(public_key.encode()).hexdigest()[:32]


def notify_agent(database: Database, public_key: str) -> None:
    """Tell an agent that there is a call. Raises DatabaseUnavailable."""
    with database.read() as connection:
        connection.execute(sa.select(sa.func.pg_notify(calls_channel(public_key), "")))


def announce_task(database: Database, task_id: str) -> None:
    """Tell the server that performs tasks about a new one. Raises DatabaseUnavailable."""
    with database.read() as connection:
        connection.execute(sa.select(sa.func.pg_notify(_TASKS + _secret(connection), task_id)))


def server_channels(database: Database) -> tuple[str, str]:
    """Return the channels of new tasks and of changes of tasks. Raises DatabaseUnavailable."""
    with database.read() as connection:
        secret = _secret(connection)
    return _TASKS + secret, _CHANGES + secret


def _secret(connection: sa.Connection) -> str:
    return str(connection.execute(sa.select(server_coordination.c.channel)).scalar_one())


def listen(
    url: str,
    find_receivers: Callable[[], Mapping[str, Callable[[str], None]]],
    stopped: threading.Event,
    connected: Callable[[], None] = lambda: None,
) -> None:
    """Call the receiver of the channel for each message, until `stopped`. Connects again after a lost connection.

    :param find_receivers: returns the receivers by channel; it may raise DatabaseUnavailable.
    :param connected: called after each connection; earlier messages may be lost.
    """
    parsed = sa.make_url(url)
    plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = connect_arguments(parsed)  # keepalives: the connection only waits, so its loss would not be noticed
    while not stopped.is_set():
        try:
            receivers = find_receivers()
            with psycopg.connect(plain, autocommit=True, **arguments) as connection:
                for channel in receivers:
                    connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                connected()
                while not stopped.is_set():
                    for message in connection.notifies(timeout=_WAIT_SECONDS, stop_after=1):
                        receivers[message.channel](message.payload)
        except (psycopg.Error, DatabaseUnavailable) as error:
            log.warning("no messages from the database, connecting again: %s", error, extra=RARELY)
            stopped.wait(_WAIT_SECONDS)
        except Exception:
            log.exception("a message from the database has failed")
            stopped.wait(_WAIT_SECONDS)
