"""Ports for nodes: looked for while nothing is locked, then reserved in one short transaction."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import Refusal
from cachewright.hosts.ports import NoFreePort, free_ports, is_free
from cachewright.store import instances
from cachewright.store.database import Database

Stored = TypeVar("Stored")

_TRIES = 5


def reserve(
    database: Database,
    settings: Settings,
    nodes: int,
    store: Callable[[sa.Connection, Sequence[int]], Stored],
    first: int | None = None,
) -> Stored:
    """Calls `store` in a write transaction with two free ports for each node; `first` leads them where it is given.
    Answers what `store` does, which must write them to the nodes' rows.

    Whether a port is free is found by binding a socket, thousands of them for large requests: no other change waits for
    that. Ports that another request has stored meanwhile are noticed in the transaction, and others are looked for.

    Refusal DCS.4062 where `first` is taken, DCS.4039 where there are not enough ports.
    """
    with database.read() as connection:
        taken = instances.taken_ports(connection, settings.node_host)
    for _ in range(_TRIES):
        ports = _find(settings, taken, 2 * nodes, first)
        with database.write() as connection:
            taken = instances.taken_ports(connection, settings.node_host)
            if taken.isdisjoint(ports):
                return store(connection, ports)
    raise Refusal("DCS.4039", reason="other requests took the ports that were found; ask again")


def _find(settings: Settings, taken: set[int], count: int, first: int | None) -> list[int]:
    if first is not None and (first in taken or not is_free(settings.node_host, first)):
        raise Refusal("DCS.4062", parameter="port", reason=f"{first} is taken")
    chosen = [] if first is None else [first]
    found = free_ports(settings.node_host, settings.node_ports, taken.union(chosen))
    try:
        return chosen + list(islice(found, count - len(chosen)))
    except NoFreePort as none:
        raise Refusal("DCS.4039", reason=f"{count} ports needed, {none}") from none
