"""Measured throughput of each action, learned from finished tasks: units of work per second."""

import sqlalchemy as sa

from cachewright.store.tables import throughput

_WEIGHT = 0.5
"""Weight of the newest task against all earlier ones. It is high because that task ran under the present load."""


def get(connection: sa.Connection, action: str) -> float | None:
    return connection.execute(
        sa.select(throughput.c.units_per_second).where(throughput.c.action == action)
    ).scalar_one_or_none()


def learn(connection: sa.Connection, action: str, units_per_second: float) -> None:
    before = get(connection, action)
    if before is None:
        connection.execute(throughput.insert().values(action=action, units_per_second=units_per_second, samples=1))
        return
    mixed = before + _WEIGHT * (units_per_second - before)
    connection.execute(
        throughput.update()
        .where(throughput.c.action == action)
        .values(units_per_second=mixed, samples=throughput.c.samples + 1)
    )
