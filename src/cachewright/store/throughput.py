"""How fast each action has gone here, learnt from tasks that have ended: units of work per second."""

import sqlalchemy as sa

from cachewright.store.tables import rates

_WEIGHT = 0.5
"""Of the newest task against all before it. It has seen the host as loaded as it is now."""


def get(connection: sa.Connection, action: str) -> float | None:
    return connection.execute(sa.select(rates.c.units_per_second).where(rates.c.action == action)).scalar_one_or_none()


def learn(connection: sa.Connection, action: str, units_per_second: float) -> None:
    known = get(connection, action)
    if known is None:
        connection.execute(rates.insert().values(action=action, units_per_second=units_per_second, samples=1))
        return
    mixed = known + _WEIGHT * (units_per_second - known)
    connection.execute(
        rates.update().where(rates.c.action == action).values(units_per_second=mixed, samples=rates.c.samples + 1)
    )
