"""Messages between processes that share a PostgreSQL database, by LISTEN and NOTIFY. A message may be lost: the
receiver also polls."""

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

log = logging.getLogger(__name__)

CALLS = "cachewright_calls"
"""Channel of calls to agents. The message is the name of the host."""

TASKS = "cachewright_tasks"
"""Channel of new tasks, for the server that performs them. The message is the id of the task."""

CHANGES = "cachewright_changes"
"""Channel of changes of tasks, which a trigger of the table sends. The message is the id of the task and that of its
instance."""

_WAIT_SECONDS = 1.0


def notify(database: Database, channel: str, message: str) -> None:
    """Send a message. Raises DatabaseUnavailable."""
    with database.read() as connection:
        connection.execute(sa.select(sa.func.pg_notify(channel, message)))


def listen(
    url: str,
    receivers: Mapping[str, Callable[[str], None]],
    stopped: threading.Event,
    connected: Callable[[], None] = lambda: None,
) -> None:
    """Call the receiver of the channel for each message, until `stopped`. Connects again after a lost connection.

    :param connected: called after each connection; earlier messages may be lost.
    """
    parsed = sa.make_url(url)
    plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    arguments = connect_arguments(parsed)  # keepalives: the connection only waits, so its loss would not be noticed
    while not stopped.is_set():
        try:
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
