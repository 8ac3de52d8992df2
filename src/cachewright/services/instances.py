"""Creation of instances."""

import secrets
import uuid
from collections.abc import Callable, Collection, Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.hosts.addresses import LOOPBACK, is_loopback
from cachewright.hosts.host import Host
from cachewright.hosts.ports import NodePorts
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import admission, client_certificates, node_placement
from cachewright.operations.client_access import NO_TLS
from cachewright.operations.create import CREATE, room_for_new
from cachewright.operations.proxies import NO_HAPROXY
from cachewright.operations.requests import CreateRequest
from cachewright.placement.port_reservation import reserve
from cachewright.services.new_tasks import add_task
from cachewright.services.templates import template_of
from cachewright.store import hosts, instances
from cachewright.store.database import Database
from cachewright.topologies import layout, topology_of
from cachewright.topologies.topology import Topology
from cachewright.valkey.certificates import new_authority

_SECRET_BYTES = 32


class InstanceService(msgspec.Struct, frozen=True):
    """Creates instances.

    :ivar host: machine for the nodes.
    :ivar enqueue: passes a stored task to the engine.
    """

    database: Database
    host: Host
    settings: Settings
    enqueue: Callable[[Task], None]

    def create_instances(self, principal: Principal, request: CreateRequest) -> list[Instance]:
        """Store new instances and start their creation, all of them or none.

        Raises ApiError DCS.4062 if the requested port is taken at all addresses; DCS.4988 or DCS.4062 for a template
        that does not exist or is for other instances; DCS.4843 without a password if other machines reach the nodes;
        DCS.4202 if TLS is not possible; DCS.4035, DCS.4036, DCS.4039 or DCS.9007 if resources or quotas are
        insufficient.
        """
        limits = node_placement.limits(self.host, self.settings)
        content = request.content
        room = room_for_new(request.flavor, len(request.names), content.size if content else 0)
        ids = [str(uuid.uuid4()) for _ in request.names]
        topology = topology_of(request.flavor.spec_code)
        is_cluster = topology.is_cluster
        with_proxy = self._has_proxy(request, has_tls=any(host.tls for host in limits.hosts.values()))
        only = self._hosts_of(request)
        on_loopback = with_proxy and only == node_placement.HERE and not is_loopback(self.host.address)
        behind = LOOPBACK if on_loopback else None
        version = next(iter(self.host.server_versions()), None)
        new = [
            layout.new_nodes(self.settings, instance_id, request.flavor, server_version=version) for instance_id in ids
        ]
        count = len(new[0]) + with_proxy  # the address of a proxy has a port of its own
        with self.database.read() as connection:
            _parameters(connection, principal, request)
            admission.require_room(connection, limits, principal.project_id, room)
            zones = request.attributes.get("az_codes", ())
            _require_zones_of(connection, only, zones)
            every, needs_tls = [node for own in new for node in own], is_cluster and request.enable_ssl
            placed = node_placement.place(connection, limits, every, zones, only=only, tls=needs_tls)
            stays_here = only == node_placement.HERE or len(hosts.without_reports(connection)) == 1
        has_use = may_encrypt(topology, stays_here=stays_here, with_proxy=with_proxy)
        tls = has_use and all(limits.hosts[node.host_name].tls for node in placed)
        nodes = [placed[begin : begin + len(new[0])] for begin in range(0, len(placed), len(new[0]))]
        addresses = [
            address
            for of_instance in nodes
            for address in (
                *([self.host.address] if with_proxy else []),
                *(behind or node.host for node in of_instance),
            )
        ]
        if request.password is None and (open_to := [other for other in addresses if not is_loopback(other)]):
            reason = f"other machines reach {open_to[0]}, so an instance needs a password"
            raise ApiError(errors.INVALID_NO_PASSWORD_ACCESS, reason=reason)
        authorities = [new_authority(instance_id) if tls else None for instance_id in ids]

        def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> list[tuple[Instance, Task]]:
            admission.require_room(connection, limits, principal.project_id, room)
            _require_zones_of(connection, only, zones)
            node_placement.require_fit(connection, limits, placed)
            parameters = _parameters(connection, principal, request)
            found = [ports[place * count :][:count] for place in range(len(nodes))]
            with_ports = [
                layout.placed(of_instance, of_nodes[with_proxy:])
                for of_instance, of_nodes in zip(nodes, found, strict=True)
            ]
            return [
                _add(
                    connection,
                    principal,
                    request,
                    name=name,
                    place=own[0],
                    nodes=of_instance,
                    node_ca=node_ca,
                    parameters=parameters,
                )
                for name, own, of_instance, node_ca in zip(request.names, found, with_ports, authorities, strict=True)
            ]

        added = reserve(
            self.database,
            self.host,
            self.settings,
            addresses,
            add,
            tls=tls,
            first=request.port,
            instances_of_first=len(ids),
        )
        for _, task in added:
            self.enqueue(task)
        return [instance for instance, _ in added]

    def _hosts_of(self, request: CreateRequest) -> Collection[str] | None:
        """Return the names of the hosts that may run the instances; None for all. Where that of the server is the only
        one for nodes behind a proxy, they may listen on loopback."""
        topology, content = topology_of(request.flavor.spec_code), request.content
        is_filled_here = content is not None and (topology.has_sentinel or self.settings.backup_storage is None)
        ends_tls = request.enable_ssl and not topology.is_cluster
        with self.database.read() as connection:
            return node_placement.hosts_of(connection, topology, self.host.address, here=ends_tls or is_filled_here)

    def _has_proxy(self, request: CreateRequest, *, has_tls: bool) -> bool:
        """Whether the instances get proxies. Raises ApiError DCS.4202 if they cannot have TLS: it needs a proxy, for a
        cluster a host whose valkey-server has TLS."""
        topology = topology_of(request.flavor.spec_code)
        if topology.is_cluster:
            if request.enable_ssl and not has_tls:
                raise ApiError(errors.INVALID_ENABLE_SSL, reason=NO_TLS)
            return False
        if request.enable_ssl and not self.host.has_haproxy:
            raise ApiError(errors.INVALID_ENABLE_SSL, reason=NO_HAPROXY)
        return self.host.has_haproxy and (topology.has_sentinel or request.enable_ssl)


def may_encrypt(topology: Topology, *, stays_here: bool, with_proxy: bool) -> bool:
    """Whether nodes get TLS between them if their hosts have it. Those of a cluster always do, because its bus has no
    password. The others do if they may be on several hosts, unless clients ask sentinels for the primary, because there
    is no proxy: sentinels would name the port for TLS, which needs a certificate."""
    return topology.is_cluster or (not stays_here and (with_proxy or not topology.has_sentinel))


def _require_zones_of(connection: sa.Connection, only: Collection[str] | None, zones: Sequence[str]) -> None:
    """Raise ApiError DCS.4042 if a zone does not exist, DCS.4062 if it has none of the hosts `only` that can run the
    instance."""
    existing = hosts.zones(connection)
    for zone in zones:
        if zone not in existing:
            raise ApiError(errors.ZONE_NOT_FOUND, zone=zone, zones=", ".join(existing))
    possible = {host.zone for host in hosts.without_reports(connection) if only is None or host.name in only}
    if others := [zone for zone in zones if zone not in possible]:
        there = ", ".join(sorted(possible))
        reason = (
            f"this instance can run in zone {there}, not in {others[0]}: TLS and some backups need the host of the "
            "server, and instances with sentinels need hosts that this one reaches"
        )
        raise ApiError(errors.INVALID_PARAMETER, parameter="az_codes", reason=reason)


def _parameters(connection: sa.Connection, principal: Principal, request: CreateRequest) -> dict[str, str]:
    """Return the first parameters of the instances: those of the template, else of the backup. Raises ApiError
    DCS.4988, or DCS.4062 for a template of another type or version."""
    if request.template_id is None:
        return request.content.parameters if request.content else {}
    template = template_of(connection, principal.project_id, request.template_id)
    own, other = (template.engine_version, template.cache_mode), (request.engine_version, request.flavor.cache_mode)
    if own != other:
        reason = f"the template is for {' '.join(own)}, the instance is {' '.join(other)}"
        raise ApiError(errors.INVALID_PARAMETER, parameter="template_id", reason=reason)
    return template.parameters


def _add(
    connection: sa.Connection,
    principal: Principal,
    request: CreateRequest,
    *,
    name: str,
    place: NodePorts,
    nodes: Sequence[Node],
    node_ca: str | None,
    parameters: dict[str, str],
) -> tuple[Instance, Task]:
    """Store an instance, its nodes and the task that creates it.

    :param place: address and port for clients.
    """
    now = now_ms()
    is_cluster = topology_of(request.flavor.spec_code).is_cluster
    if node_ca is not None and not is_cluster:
        node_ca = client_certificates.known_to_sentinels(connection, node_ca)
    instance = Instance(
        id=nodes[0].instance_id,
        project_id=principal.project_id,
        name=name,
        status=CREATE.status_while_running,
        engine_version=request.engine_version,
        spec_code=request.flavor.spec_code,
        address=place.address,
        seed_port=place.client,
        password=request.password,
        control_secret=secrets.token_urlsafe(_SECRET_BYTES),
        attributes={**request.attributes, **({} if request.port is None else {"port": request.port})},
        parameters=parameters,
        user_id=principal.user_id,
        user_name=principal.user_name,
        created_at=now,
        updated_at=now,
        node_ca=node_ca,
        disabled_commands=request.disabled_commands,
    )
    if request.enable_ssl:
        certificate = client_certificates.of_instance(connection, instance)
        instance = msgspec.structs.replace(instance, server_certificate=certificate)
        nodes = [msgspec.structs.replace(node, client_tls=is_cluster) for node in nodes]
    instances.add(connection, instance)
    instances.add_nodes(connection, nodes)
    return instance, add_task(connection, CREATE, principal, instance, CREATE.validate(instance, nodes, request))
