"""Messages between processes that share a PostgreSQL database, by LISTEN and NOTIFY. A message may be lost: the
receiver also polls."""

import logging
import threading
from collections.abc import Callable

import psycopg
import psycopg.sql
import sqlalchemy as sa

from cachewright.store.database import Database

log = logging.getLogger(__name__)

CALLS = "cachewright_calls"
"""Channel of calls to agents. The message is the name of the host."""

_WAIT_SECONDS = 1.0


def notify(database: Database, channel: str, message: str) -> None:
    """Send a message. Raises DatabaseUnavailable."""
    with database.read() as connection:
        connection.execute(sa.select(sa.func.pg_notify(channel, message)))


def listen(url: str, channel: str, receive: Callable[[str], None], stopped: threading.Event) -> None:
    """Call `receive` for each message until `stopped`. Connects again after a lost connection."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while not stopped.is_set():
        try:
            with psycopg.connect(plain, autocommit=True, application_name="cachewright") as connection:
                connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                while not stopped.is_set():
                    for message in connection.notifies(timeout=_WAIT_SECONDS, stop_after=1):
                        receive(message.payload)
        except psycopg.Error as error:
            log.warning("no messages from the database, connecting again: %s", error)
            stopped.wait(_WAIT_SECONDS)
