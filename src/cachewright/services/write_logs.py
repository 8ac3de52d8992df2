"""Write logs of an instance: whether it has them, and which data can be restored from them."""

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import node_elsewhere
from cachewright.model.write_logs import ATTRIBUTE, EXPIRED, Window, WriteLog, windows
from cachewright.services.instance_attributes import AttributeChange, InstanceAttributes
from cachewright.services.lookup import instance_of
from cachewright.store import instances, write_logs
from cachewright.store.database import Database
from cachewright.valkey.slots import SLOTS


class WriteLogState(msgspec.Struct, frozen=True):
    """:ivar keep_hours: 0 without write logs.
    :ivar windows: seconds whose data can be restored, oldest first.
    :ivar logs: oldest first.
    """

    keep_hours: int
    windows: list[Window]
    logs: list[WriteLog]


class WriteLogService(msgspec.Struct, frozen=True):
    """Methods raise ApiError DCS.3022 if the project does not have the instance.

    :ivar storage_is_shared: whether agents of other hosts reach the storage of backups.
    """

    database: Database
    attributes: InstanceAttributes
    storage_is_shared: bool

    def state(self, principal: Principal, instance_id: str) -> WriteLogState:
        with self.database.read() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            logs = [log for log in write_logs.of_instance(connection, instance_id) if log.ended != EXPIRED]
        return WriteLogState(int(instance.attributes.get(ATTRIBUTE, 0)), windows(logs, SLOTS), logs)

    def keep(self, principal: Principal, instance_id: str, hours: int) -> WriteLogState:
        """Keep write logs for so many hours from now on; with 0 keep none, and delete those that exist. Raises ApiError
        DCS.4026 while the instance is being deleted, DCS.4062 if a host cannot store them."""
        with self.database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            away = node_elsewhere(instances.nodes_of(connection, instance_id))
        if hours and away and not self.storage_is_shared:
            reason = f"only the server reaches the folder of backups, set --backup-storage: {away}"
            raise ApiError(errors.INVALID_PARAMETER, parameter="keep_hours", reason=reason)
        self.attributes.change(principal, instance_id, lambda _: AttributeChange(attributes={ATTRIBUTE: hours}))
        return self.state(principal, instance_id)
