"""Learned rates, by name."""

from collections.abc import Collection, Mapping
from statistics import fmean, harmonic_mean

import msgspec
import sqlalchemy as sa

from cachewright.store.tables import throughput

_WEIGHT = 0.5
"""Weight of the newest measurement against all earlier ones. It is high because it was made under the present load."""


class Rate(msgspec.Struct, frozen=True):
    """A learned rate.

    :ivar units_per_second: the rate.
    :ivar deviation: standard deviation of its logarithm; None if it is not known.
    """

    units_per_second: float
    deviation: float | None


def get(connection: sa.Connection, name: str) -> float | None:
    return connection.execute(
        sa.select(throughput.c.units_per_second).where(throughput.c.action == name)
    ).scalar_one_or_none()


def of_instance(name: str, instance_id: str) -> str:
    """Return the name of the same rate of one instance."""
    return f"{name} @ {instance_id}"


def forget(connection: sa.Connection, instance_id: str) -> None:
    """Delete the rates of an instance."""
    connection.execute(throughput.delete().where(throughput.c.action.like(f"% @ {instance_id}")))


def load(connection: sa.Connection, names: Collection[str]) -> Mapping[str, Rate]:
    """Return the rates of these names that are known."""
    columns = (throughput.c.action, throughput.c.units_per_second, throughput.c.deviation)
    query = sa.select(*columns).where(throughput.c.action.in_(names))
    return {name: Rate(units, deviation) for name, units, deviation in connection.execute(query)}


def of_action(connection: sa.Connection, action: str, instance_id: str | None = None) -> Mapping[str, Rate]:
    """Return the rates whose names begin with an action and a colon, by name: those of an instance, or those of the
    installation."""
    name = throughput.c.action
    suffix = "" if instance_id is None else of_instance("", instance_id)
    is_of_owner = name.endswith(suffix, autoescape=True) if suffix else ~name.contains(" @ ")
    query = sa.select(name, throughput.c.units_per_second, throughput.c.deviation).where(
        name.startswith(f"{action}:", autoescape=True), is_of_owner
    )
    return {found.removesuffix(suffix): Rate(units, deviation) for found, units, deviation in connection.execute(query)}


def learn(connection: sa.Connection, name: str, units_per_second: float, *, harmonic: bool = False) -> None:
    """Mix a measurement into a rate.

    :param harmonic: use the harmonic mean, for a rate by which an amount of work is divided.
    """
    before = get(connection, name)
    mean = harmonic_mean if harmonic else fmean
    mixed = units_per_second if before is None else mean([before, units_per_second], weights=[1 - _WEIGHT, _WEIGHT])
    put(connection, name, Rate(mixed, None))


def put(connection: sa.Connection, name: str, rate: Rate) -> None:
    """Replace a rate after one more measurement."""
    values = {"units_per_second": rate.units_per_second, "deviation": rate.deviation}
    changed = connection.execute(
        throughput.update().where(throughput.c.action == name).values(samples=throughput.c.samples + 1, **values)
    )
    if not changed.rowcount:
        connection.execute(throughput.insert().values(action=name, samples=1, **values))
