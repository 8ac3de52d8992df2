"""Background loops, which run again after every error."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cachewright.errors import DatabaseUnavailable
from cachewright.store.driver_errors import translate_errors

log = logging.getLogger(__name__)


async def forever(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a background loop again after every error: a database that was locked for too long, a full disk."""
    while True:
        try:
            with translate_errors():
                await loop()
        except DatabaseUnavailable as error:
            log.warning("%s: the database is unavailable, retrying: %s", loop.__qualname__, error)
        except Exception:
            log.exception("%s was interrupted; it is run again", loop.__qualname__)
        await asyncio.sleep(1)
