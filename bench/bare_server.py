"""The libraries of Cachewright alone, as a lower bound: granian, Litestar and DBOS on an empty SQLite, idle.

`python -m bench.bare_server PORT DATABASE [QUEUE ...]`; the queues are polled often, so that workflows start soon.
"""

import asyncio
import signal
import sys

from dbos import DBOS
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar, get

_POLL_SECONDS = {"instances": 0.05, "webhooks": 0.25}


@get("/")
async def root() -> str:
    return "bare"


async def _serve(port: int) -> None:
    server = Server(
        Litestar([root]), address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_level=LogLevels.error
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


def main() -> None:
    port, database, *queues = sys.argv[1:]
    DBOS(config={"name": "bare", "system_database_url": f"sqlite:///{database}", "console_log_level": "CRITICAL"})
    DBOS.launch()
    for name in queues:
        DBOS.register_queue(name, partition_concurrency=1, polling_interval_sec=_POLL_SECONDS[name])
    asyncio.run(_serve(int(port)))
    DBOS.destroy(workflow_completion_timeout_sec=0)


if __name__ == "__main__":
    main()
