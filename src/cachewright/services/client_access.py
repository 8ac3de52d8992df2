"""How clients connect to instances: TLS, and the addresses from which they may connect."""

from datetime import datetime

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.host import Host
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, allowed_addresses, has_proxy
from cachewright.model.tasks import Task
from cachewright.operations.client_access import CHANGE_WHITELIST, SWITCH_TLS, TlsRequest, WhitelistRequest
from cachewright.operations.confirm import CONFIRM_NO_TLS, CONFIRM_NO_WHITELIST
from cachewright.services.instance_attributes import AttributeChange, InstanceAttributes
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import authorities, instances
from cachewright.store.database import Database
from cachewright.topologies import topology_of
from cachewright.valkey.certificates import authority_certificate, expires_at


class ClientAccess(msgspec.Struct, frozen=True):
    """All methods with an instance raise ApiError DCS.3022 if it does not exist in the project; those that start a task
    also raise errors of `TaskService.submit`."""

    database: Database
    host: Host
    tasks: TaskService
    attributes: InstanceAttributes

    def require(self, principal: Principal, instance_id: str) -> None:
        """Raise ApiError DCS.3022 if the instance does not exist."""
        self._find(principal, instance_id)

    def switch_tls(self, principal: Principal, instance_id: str, *, enabled: bool) -> Task:
        """Start the task that switches TLS. Raises ApiError DCS.4202 if it would be enabled and is not possible."""
        instance, proxied = self._find(principal, instance_id)
        if not enabled and not proxied and instance.server_certificate is None:
            return self.tasks.submit(CONFIRM_NO_TLS, principal, instance_id, None)
        request = TlsRequest(enabled=enabled, has_haproxy=self.host.has_haproxy)
        return self.tasks.submit(SWITCH_TLS, principal, instance_id, request)

    def store_whitelist(
        self, principal: Principal, instance_id: str, change: AttributeChange, *, filters: bool
    ) -> None:
        """Store a whitelist, and start the task that enforces it unless all addresses were allowed and stay so.

        :param filters: whether it allows some addresses only.
        """
        instance, _ = self._find(principal, instance_id)
        if filters or allowed_addresses(instance) is not None:
            self.change_whitelist(principal, instance_id, change, filters=filters)
        else:
            self.attributes.change(principal, instance_id, lambda _: change)

    def change_whitelist(
        self, principal: Principal, instance_id: str, change: AttributeChange, *, filters: bool
    ) -> Task:
        """Store a whitelist, and start the task that enforces it. Raises ApiError DCS.4062 if it would be enabled and
        is not possible."""
        instance, proxied = self._find(principal, instance_id)
        if not filters and not proxied and allowed_addresses(instance) is None:
            return self.tasks.submit(CONFIRM_NO_WHITELIST, principal, instance_id, None, lambda _: change)
        request = WhitelistRequest(
            enabled=filters,
            has_haproxy=self.host.has_haproxy,
            has_firewall=self.host.client_firewall is not None,
        )
        return self.tasks.submit(CHANGE_WHITELIST, principal, instance_id, request, lambda _: change)

    def certificate_expires_at(self, principal: Principal, instance_id: str) -> tuple[Instance, datetime | None]:
        """Return the instance, and when the certificate that its clients see expires; None without TLS."""
        instance, _ = self._find(principal, instance_id)
        certificate = instance.server_certificate
        return instance, None if certificate is None else expires_at(certificate)

    def require_tls(self, principal: Principal, instance_id: str) -> None:
        """Raise ApiError DCS.4202 if clients of the instance connect without TLS."""
        instance, _ = self._find(principal, instance_id)
        if instance.server_certificate is None:
            raise ApiError(errors.INVALID_ENABLE_SSL, reason="clients of this instance connect without TLS")

    def authority(self) -> str:
        """Return the certificate by which clients verify instances, PEM. It is public. Raises ApiError DCS.4001 before
        the first instance with TLS."""
        with self.database.read() as connection:
            authority = authorities.find(connection, "clients")
        if authority is None:
            raise ApiError(errors.URL_NOT_FOUND)
        return authority_certificate(authority)

    def _find(self, principal: Principal, instance_id: str) -> tuple[Instance, bool]:
        """Return the instance, and whether it has a proxy."""
        with self.database.read() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            nodes = instances.nodes_of(connection, instance_id)
        return instance, not topology_of(instance.spec_code).is_cluster and has_proxy(instance, nodes)
