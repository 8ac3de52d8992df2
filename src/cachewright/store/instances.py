"""Queries on instances and their nodes. Secrets of instances are stored encrypted."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.accounts import Accounts, PasswordChange
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.store import key_analyses, throughput
from cachewright.store.database import secret_cipher
from cachewright.store.node_rows import node_of, nodes_in
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import incidents, instances, nodes, password_attempts, sentinels


def add(connection: sa.Connection, instance: Instance) -> None:
    encrypt = secret_cipher(connection).encrypt
    row = to_row(instance) | _sealed_access(connection, instance)
    row["control_secret"] = encrypt(instance.control_secret)
    row["node_ca"] = instance.node_ca and encrypt(instance.node_ca)
    row["server_certificate"] = instance.server_certificate and encrypt(instance.server_certificate)
    connection.execute(instances.insert().values(row))


def get(connection: sa.Connection, project_id: str, instance_id: str) -> Instance | None:
    row = connection.execute(
        instances.select().where(instances.c.id == instance_id, instances.c.project_id == project_id)
    ).one_or_none()
    return of_row(connection, row) if row else None


def find(connection: sa.Connection, instance_id: str) -> Instance | None:
    """Return an instance of any project, or None. The caller must check the project."""
    row = connection.execute(instances.select().where(instances.c.id == instance_id)).one_or_none()
    return of_row(connection, row) if row else None


def search(
    connection: sa.Connection,
    project_id: str,
    *,
    offset: int = 0,
    limit: int | None = None,
    instance_id: str | None = None,
    name: str | None = None,
    name_equal: bool = False,
    status: str | None = None,
    include_failure: bool = True,
    address: str | None = None,
) -> tuple[int, list[Instance]]:
    """Return the number of matching instances, and one page of them, newest first; all of them without
    a limit."""
    query = instances.select().where(instances.c.project_id == project_id)
    if instance_id is not None:
        query = query.where(instances.c.id == instance_id)
    if name is not None:
        query = query.where(
            instances.c.name == name if name_equal else instances.c.name.icontains(name, autoescape=True)
        )
    if status is not None:
        query = query.where(instances.c.status == status)
    if address is not None:
        query = query.where(instances.c.address == address)
    if not include_failure:
        query = query.where(instances.c.status != "CREATEFAILED")
    count = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    page = query.order_by(instances.c.created_at.desc(), instances.c.id).offset(offset).limit(limit)
    return count, [of_row(connection, row) for row in connection.execute(page)]


def every(connection: sa.Connection) -> list[Instance]:
    """Return all instances of all projects. Only for the server itself, not for clients."""
    return [of_row(connection, row) for row in connection.execute(instances.select())]


class Secrets(msgspec.Struct, frozen=True, gc=False):
    """Those members of an instance by which the control plane connects to its nodes."""

    control_secret: str
    password: str | None
    node_ca: str | None


def secrets(connection: sa.Connection, in_statuses: Collection[str]) -> dict[str, Secrets]:
    """Return the secrets of all instances in one of these statuses, by instance id."""
    columns = (instances.c.id, instances.c.control_secret, instances.c.password, instances.c.node_ca)
    query = sa.select(*columns).where(instances.c.status.in_(in_statuses))
    opened = secret_cipher(connection).decrypt
    return {
        instance_id: Secrets(opened(secret), password and opened(password), node_ca and opened(node_ca))
        for instance_id, secret, password, node_ca in connection.execute(query).all()
    }


def spec_codes(connection: sa.Connection) -> dict[str, str]:
    """Return the spec code of every instance of all projects, by its id."""
    rows = connection.execute(sa.select(instances.c.id, instances.c.spec_code))
    return {instance_id: spec_code for instance_id, spec_code in rows.all()}  # noqa: C416  # mypy knows no dict of rows


def with_attribute(connection: sa.Connection, name: str) -> list[Instance]:
    """Return all instances of all projects that have this attribute, oldest first. Only for the server itself."""
    query = instances.select().where(instances.c.attributes.contains(f'"{name}"', autoescape=True))
    rows = connection.execute(query.order_by(instances.c.created_at, instances.c.id))
    found = [of_row(connection, row) for row in rows]
    return [instance for instance in found if name in instance.attributes]


def with_tls(connection: sa.Connection) -> list[tuple[str, bool]]:
    """Return the spec code of every instance of all projects that has a node on the machine of the server, and whether
    it has TLS between its nodes."""
    here = sa.select(nodes.c.instance_id).where(nodes.c.host_name == EMBEDDED)
    query = sa.select(instances.c.spec_code, instances.c.node_ca.is_not(None).label("tls"))
    rows = connection.execute(query.where(instances.c.id.in_(here)))
    return [(row.spec_code, bool(row.tls)) for row in rows]


def change(connection: sa.Connection, instance_id: str, **values: Any) -> None:
    connection.execute(instances.update().where(instances.c.id == instance_id).values(columns(**values)))


def change_access(connection: sa.Connection, instance: Instance) -> None:
    """Store the password, the accounts and the disabled commands of the instance."""
    values = {**_sealed_access(connection, instance), "disabled_commands": list(instance.disabled_commands)}
    change(connection, instance.id, **values)


def change_certificate(connection: sa.Connection, instance_id: str, certificate: str | None) -> None:
    """Store the certificate for clients of the instance; None for connections without TLS."""
    encrypt = secret_cipher(connection).encrypt
    change(connection, instance_id, server_certificate=certificate and encrypt(certificate))


def in_statuses(
    connection: sa.Connection, wanted: Collection[str], only: Collection[str] | None = None
) -> list[Instance]:
    """Return all instances of all projects in one of these statuses; with `only`, those of them with such an id."""
    query = instances.select().where(instances.c.status.in_(wanted))
    if only is not None:
        query = query.where(instances.c.id.in_(only))
    return [of_row(connection, row) for row in connection.execute(query).all()]


def remove(connection: sa.Connection, instance_id: str) -> None:
    connection.execute(nodes.delete().where(nodes.c.instance_id == instance_id))
    connection.execute(incidents.delete().where(incidents.c.instance_id == instance_id))
    connection.execute(password_attempts.delete().where(password_attempts.c.instance_id == instance_id))
    key_analyses.remove_of_instance(connection, instance_id)
    throughput.forget(connection, instance_id)
    connection.execute(instances.delete().where(instances.c.id == instance_id))


def nodes_of(connection: sa.Connection, instance_id: str) -> list[Node]:
    """Return the nodes of an instance ordered by shard, within a shard the node created as primary first. Without those
    that are apart."""
    query = nodes.select().where(nodes.c.instance_id == instance_id, nodes.c.apart.is_(False))
    ordered = query.order_by(nodes.c.shard, nodes.c.role, nodes.c.id)
    return nodes_in(connection, ordered)


def apart_of(connection: sa.Connection, instance_id: str) -> list[Node]:
    """Return the nodes of an instance that are apart: those that a change of its type adds later, or has replaced."""
    query = nodes.select().where(nodes.c.instance_id == instance_id, nodes.c.apart.is_(True))
    return nodes_in(connection, query.order_by(nodes.c.shard, nodes.c.id))


def addresses(connection: sa.Connection) -> set[int]:
    """Return the ports of the addresses that clients of all instances get."""
    return set(connection.execute(sa.select(instances.c.seed_port)).scalars())


def taken_ports(connection: sa.Connection) -> Mapping[str, set[int]]:
    """Return the ports of all nodes, started or not, of sentinels, and of the addresses of instances, by their IP
    address; an empty set for an address without any."""
    taken: defaultdict[str, set[int]] = defaultdict(set)
    of_nodes = sa.select(nodes.c.host, nodes.c.port, nodes.c.bus_port, nodes.c.tls_port)
    of_sentinels = sa.select(sentinels.c.host, sentinels.c.port)
    of_instances = sa.select(instances.c.address, instances.c.seed_port)
    for query in (of_nodes, of_sentinels, of_instances):
        for address, *ports in connection.execute(query):
            taken[address].update(port for port in ports if port is not None)
    return taken


def add_nodes(connection: sa.Connection, added: Sequence[Node]) -> None:
    connection.execute(nodes.insert(), [to_row(node) for node in added])


def remove_nodes(connection: sa.Connection, node_ids: Iterable[str]) -> int:
    """Remove nodes, and return how many of them there were."""
    return connection.execute(nodes.delete().where(nodes.c.id.in_(list(node_ids)))).rowcount


def change_node(connection: sa.Connection, node_id: str, **values: Any) -> None:
    connection.execute(nodes.update().where(nodes.c.id == node_id).values(values))


def nodes_here(connection: sa.Connection) -> list[Node]:
    """Return every node of all projects on the machine of the server that should run. Without those that are apart."""
    query = nodes.select().where(nodes.c.host_name == EMBEDDED, nodes.c.should_run.is_(True), nodes.c.apart.is_(False))
    return nodes_in(connection, query)


def ids_of_nodes_in(connection: sa.Connection, node_ids: Collection[str], in_status: str) -> list[str]:
    """Return which of these nodes are of instances in this status, ordered."""
    joined = sa.select(nodes.c.id).join(instances, instances.c.id == nodes.c.instance_id)
    query = joined.where(nodes.c.id.in_(list(node_ids)), instances.c.status == in_status)
    return list(connection.execute(query.order_by(nodes.c.id)).scalars())


def nodes_that_should_run(connection: sa.Connection, only: Collection[str] | None = None) -> list[Node]:
    """Return every node of all projects that should run; with `only`, those of them in such an instance. Without those
    that are apart."""
    query = nodes.select().where(nodes.c.should_run.is_(True), nodes.c.apart.is_(False))
    if only is not None:
        query = query.where(nodes.c.instance_id.in_(only))
    return nodes_in(connection, query)


def all_nodes(connection: sa.Connection) -> list[Node]:
    """Return every node of all projects, within each instance in the order of `nodes_of`. Those that are apart too."""
    ordered = nodes.select().order_by(nodes.c.instance_id, nodes.c.shard, nodes.c.role, nodes.c.id)
    return nodes_in(connection, ordered)


def largest_maxmemory(connection: sa.Connection, host_name: str) -> int:
    """Return the largest `maxmemory` of a node of a host; 0 without nodes."""
    query = sa.select(sa.func.max(nodes.c.maxmemory)).where(nodes.c.host_name == host_name)
    return connection.execute(query).scalar_one() or 0


def nodes_by_host(connection: sa.Connection, project_id: str) -> dict[str, list[Node]]:
    """Return the nodes of a project by host name, ordered by instance and shard. Also those that are apart."""
    query = nodes.select().join(instances, instances.c.id == nodes.c.instance_id)
    mine = query.where(instances.c.project_id == project_id)
    found: dict[str, list[Node]] = defaultdict(list)
    for row in connection.execute(mine.order_by(nodes.c.instance_id, nodes.c.shard, nodes.c.id)):
        found[row.host_name].append(node_of(row))
    return found


def nodes_on(connection: sa.Connection, host_name: str) -> list[Node]:
    """Return all nodes of a host, of all projects, ordered by instance and shard. Those that are apart too."""
    there = nodes.select().where(nodes.c.host_name == host_name)
    return nodes_in(connection, there.order_by(nodes.c.instance_id, nodes.c.shard, nodes.c.role, nodes.c.id))


def nodes_beside(connection: sa.Connection, host_names: Collection[str]) -> list[Node]:
    """Return all nodes, of all projects, of instances that have a node on one of these hosts. Without those that are
    apart."""
    there = sa.select(nodes.c.instance_id).where(nodes.c.host_name.in_(list(host_names)))
    query = nodes.select().where(nodes.c.instance_id.in_(there), nodes.c.apart.is_(False))
    ordered = query.order_by(nodes.c.instance_id, nodes.c.shard, nodes.c.role, nodes.c.id)
    return nodes_in(connection, ordered)


def nodes_without_socket(connection: sa.Connection) -> list[Node]:
    """Return the nodes of all projects that an earlier release started and that were not restarted since. Without those
    that are apart."""
    earlier = nodes.select().where(nodes.c.access != "socket", nodes.c.apart.is_(False))
    query = earlier.order_by(nodes.c.instance_id, nodes.c.id)
    return nodes_in(connection, query)


def statuses(connection: sa.Connection) -> dict[str, tuple[str, str, str | None]]:
    """Return project, status and error code of every instance of all projects, by its id."""
    columns = (instances.c.id, instances.c.project_id, instances.c.status, instances.c.error_code)
    rows = connection.execute(sa.select(*columns))
    return {instance_id: (project_id, status, code) for instance_id, project_id, status, code in rows.all()}


def should_run_in(connection: sa.Connection, in_statuses: Collection[str]) -> dict[str, tuple[str, int]]:
    """Return the instance id and the shard, by node id, of nodes that should run in instances in one of these statuses.
    Without those that are apart."""
    columns = sa.select(nodes.c.id, nodes.c.instance_id, nodes.c.shard)
    joined = columns.join(instances, instances.c.id == nodes.c.instance_id)
    running = joined.where(nodes.c.should_run.is_(True), nodes.c.apart.is_(False))
    query = running.where(instances.c.status.in_(in_statuses))
    return {node_id: (instance_id, shard) for node_id, instance_id, shard in connection.execute(query).all()}


def of_row(connection: sa.Connection, row: sa.Row[tuple[Any, ...]]) -> Instance:
    """Return the instance of a row of the table, with its secrets decrypted."""
    sealed = dict(row._mapping)
    accounts, pending = sealed.pop("accounts"), sealed.pop("pending_password")
    instance = from_row(Instance, sealed)
    opened = secret_cipher(connection).decrypt
    return msgspec.structs.replace(
        instance,
        password=instance.password and opened(instance.password),
        control_secret=opened(instance.control_secret),
        node_ca=instance.node_ca and opened(instance.node_ca),
        server_certificate=instance.server_certificate and opened(instance.server_certificate),
        accounts=msgspec.json.decode(opened(accounts), type=Accounts) if accounts else (),
        pending_password=msgspec.json.decode(opened(pending), type=PasswordChange) if pending else None,
    )


def _sealed_access(connection: sa.Connection, instance: Instance) -> dict[str, str | None]:
    """Return the columns of passwords and accounts, encrypted."""
    encrypt = secret_cipher(connection).encrypt

    def sealed(value: object) -> str | None:
        return encrypt(msgspec.json.encode(value).decode()) if value else None

    return {
        "password": instance.password and encrypt(instance.password),
        "accounts": sealed(instance.accounts),
        "pending_password": sealed(instance.pending_password),
    }
