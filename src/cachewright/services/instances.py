"""Creation of instances."""

import secrets
import uuid
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.hosts.host import Host
from cachewright.hosts.ports import NodePorts
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import admission
from cachewright.operations.create import CREATE, room_for_new
from cachewright.operations.requests import CreateRequest
from cachewright.placement.port_reservation import reserve
from cachewright.services.new_tasks import add_task
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.topologies import layout, topology_of
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

        Raises ApiError DCS.4062 if the requested port is taken; DCS.4035, DCS.4036, DCS.4039 or DCS.9007 if resources
        or quotas are insufficient.
        """
        limits = admission.limits(self.host, self.settings)
        room = room_for_new(request.flavor, len(request.names))
        with self.database.read() as connection:
            admission.require_room(connection, limits, principal.project_id, room)
        ids = [str(uuid.uuid4()) for _ in request.names]
        tls = topology_of(request.flavor.spec_code).has_peers and self.host.supports_tls()
        nodes = [layout.new_nodes(self.settings, instance_id, request.flavor) for instance_id in ids]
        authorities = [new_authority(instance_id) if tls else None for instance_id in ids]

        def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> list[tuple[Instance, Task]]:
            admission.require_room(connection, limits, principal.project_id, room)
            count = len(nodes[0])
            placed = [
                layout.placed(of_instance, ports[place * count :][:count]) for place, of_instance in enumerate(nodes)
            ]
            return [
                _add(connection, principal, request, name=name, nodes=of_instance, node_ca=node_ca)
                for name, of_instance, node_ca in zip(request.names, placed, authorities, strict=True)
            ]

        added = reserve(self.database, self.host, self.settings, room.size.nodes, add, tls=tls, first=request.port)
        for _, task in added:
            self.enqueue(task)
        return [instance for instance, _ in added]


def _add(
    connection: sa.Connection,
    principal: Principal,
    request: CreateRequest,
    *,
    name: str,
    nodes: Sequence[Node],
    node_ca: str | None,
) -> tuple[Instance, Task]:
    """Store an instance, its nodes and the task that creates it."""
    now = now_ms()
    instance = Instance(
        id=nodes[0].instance_id,
        project_id=principal.project_id,
        name=name,
        status=CREATE.status_while_running,
        engine_version=request.engine_version,
        spec_code=request.flavor.spec_code,
        seed_port=nodes[0].port,
        password=request.password,
        control_secret=secrets.token_urlsafe(_SECRET_BYTES),
        attributes=request.attributes,
        user_id=principal.user_id,
        user_name=principal.user_name,
        created_at=now,
        updated_at=now,
        node_ca=node_ca,
    )
    instances.add(connection, instance)
    instances.add_nodes(connection, nodes)
    return instance, add_task(connection, CREATE, principal, instance, CREATE.validate(instance, nodes, request))
