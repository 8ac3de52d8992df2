"""Small batches of an instance, learned from its tasks: which share of the keys moves in them, and how large they are.

Clients come and go, so a plan cannot tell from the clients of this moment how many keys will move in small batches
(`valkey.migration.range_size`). The share is learned from finished tasks of the instance, apart for sources that had
clients when the plan was made and for sources that had none. A source whose clients came or went during the task could
have had the other plan as well, so its share is that of both.

The size of small batches follows the waits and the forks of the last seconds, so the size at the time of the plan says
little about those to come. It is learned apart for targets that the task adds, whose memory is untouched.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from cachewright.store import throughput
from cachewright.valkey.migration.source_state import MigrationState

_SIZES = {True: "keys in a small batch: new target", False: "keys in a small batch"}
_NAMES = {True: "keys in small batches: clients", False: "keys in small batches: no clients"}


def store_small_shares(connection: sa.Connection, instance_id: str, migrations: MigrationState) -> None:
    """Learn from a task that has succeeded."""
    for clients, name in _NAMES.items():
        planned_so, otherwise = (migrations.batch_share(instance_id, clients=now) for now in (clients, not clients))
        share = planned_so.measured
        if share is None and otherwise.has_seen(clients=clients):
            share = otherwise.measured
        if share is not None:
            throughput.learn(connection, throughput.of_instance(name, instance_id), share)


def load_small_shares(connection: sa.Connection, instance_id: str) -> Mapping[bool, float]:
    """Return the share for sources with and without clients. An instance without finished tasks keeps the clients that
    it has."""
    learned = {
        clients: throughput.get(connection, throughput.of_instance(name, instance_id))
        for clients, name in _NAMES.items()
    }
    return {clients: float(clients) if share is None else share for clients, share in learned.items()}


def store_small_batches(connection: sa.Connection, instance_id: str, migrations: MigrationState) -> None:
    """Learn the mean sizes from a task that has succeeded, for its instance and for the installation. A plan divides
    its keys by the size, so the mean over tasks is the harmonic one."""
    shares = [migrations.batch_share(instance_id, clients=clients) for clients in (True, False)]
    for new_target, name in _SIZES.items():
        sizes = [share.small_batches(new_target=new_target) for share in shares]
        if batches := sum(number for number, _ in sizes):
            mean = sum(keys for _, keys in sizes) / batches
            throughput.learn(connection, throughput.of_instance(name, instance_id), mean, harmonic=True)
            throughput.learn(connection, name, mean, harmonic=True)


def load_small_batches(connection: sa.Connection, instance_id: str) -> Mapping[bool, float]:
    """Return the usual number of keys in a small batch to nodes that the task adds (True) and to other nodes. The
    instance's own batches count before those of the installation. Empty if there were none."""
    names = {name: throughput.of_instance(name, instance_id) for name in _SIZES.values()}
    known = throughput.load(connection, [*names, *names.values()])
    found = {}
    for new_target, name in _SIZES.items():
        other = _SIZES[not new_target]
        candidates = (names[name], names[other], name, other)
        if usual := next((known[candidate] for candidate in candidates if candidate in known), None):
            found[new_target] = usual.units_per_second
    return found
