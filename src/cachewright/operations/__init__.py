"""Operations: the kinds of change to an instance, each declared in a module of its own.

`OPERATIONS` is their one registry; `operation.Operation` is what each declares. In the order of a task's life:

- `requests`, `acceptance` and `admission` decide whether a request becomes a task
- `create`, `resize`, `resize_check`, `restart`, `upgrade`, `configure`, `users`, `client_access`, `confirm`,
  `scan_expired`, `analyse_keys`, `close_clients`, `backup` and `delete` validate requests and make plans
- `online_migrations` copies the data of other servers, and of files
- `resize` holds the parts of a resize plan: observation, plan, cost model, steps
- `actions` perform the sub-steps, in an `OperationContext` (`context`)
- `execution` binds operations to the engine, `instance_status` sets the status when a task ends
"""

from collections.abc import Mapping
from typing import Any

from cachewright.operations.analyse_keys import BIG_KEYS, HOT_KEYS
from cachewright.operations.backup import BACKUP
from cachewright.operations.client_access import CHANGE_WHITELIST, SWITCH_TLS
from cachewright.operations.close_clients import CLOSE_CLIENTS
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.confirm import CONFIRM_CLIENT_ADDRESSES, CONFIRM_NO_TLS, CONFIRM_NO_WHITELIST
from cachewright.operations.create import CREATE
from cachewright.operations.delete import DELETE
from cachewright.operations.flush import FLUSH
from cachewright.operations.move_nodes import MOVE_NODES
from cachewright.operations.node_status import NODE_STATUS
from cachewright.operations.online_migrations.operation import MIGRATE_ONLINE
from cachewright.operations.operation import Operation
from cachewright.operations.rebuild import REBUILD
from cachewright.operations.resize.check import RESIZE_CHECK
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restart import RESTART
from cachewright.operations.restore import RESTORE
from cachewright.operations.scan_expired import SCAN_EXPIRED
from cachewright.operations.switchover import SWITCHOVER
from cachewright.operations.upgrade import UPGRADE
from cachewright.operations.users import USER_CHANGES

OPERATIONS: Mapping[str, Operation[Any, Any]] = {
    operation.kind: operation
    for operation in (
        CREATE,
        RESIZE,
        RESTART,
        RESTORE,
        SWITCHOVER,
        UPGRADE,
        FLUSH,
        NODE_STATUS,
        REBUILD,
        MOVE_NODES,
        RESIZE_CHECK,
        CONFIGURE,
        *USER_CHANGES,
        SWITCH_TLS,
        CHANGE_WHITELIST,
        CONFIRM_CLIENT_ADDRESSES,
        CONFIRM_NO_TLS,
        CONFIRM_NO_WHITELIST,
        SCAN_EXPIRED,
        BIG_KEYS,
        HOT_KEYS,
        CLOSE_CLIENTS,
        BACKUP,
        MIGRATE_ONLINE,
        DELETE,
    )
}
"""By kind."""

STATUSES_WITH_RUNNING_NODES = frozenset({"RUNNING", "ERROR"}) | {
    operation.status_while_running for operation in OPERATIONS.values() if operation.nodes_should_run
}
"""Instance statuses in which nodes that have started once should run."""
