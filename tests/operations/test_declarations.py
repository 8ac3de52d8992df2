"""What the operations declare, and which requests they accept in which state of an instance."""

from typing import Any

import pytest

from cachewright.errors import ApiError
from cachewright.model.incidents import Incident
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS, STATUSES_WITH_RUNNING_NODES
from cachewright.operations.acceptance import require_acceptable, require_retriable
from cachewright.operations.backup import BACKUP
from cachewright.operations.client_access import CHANGE_WHITELIST, SWITCH_TLS
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.create import CREATE
from cachewright.operations.delete import DELETE
from cachewright.operations.flush import FLUSH
from cachewright.operations.operation import Operation
from cachewright.operations.rebuild import REBUILD
from cachewright.operations.resize.check import RESIZE_CHECK
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restart import RESTART
from cachewright.operations.restore import RESTORE
from cachewright.operations.switchover import SWITCHOVER
from cachewright.operations.users import CHANGE_PASSWORD, CREATE_ACCOUNT, USER_CHANGES
from database_fixtures import a_task, an_instance

STATUSES = (
    "CREATING",
    "RUNNING",
    "EXTENDING",
    "RESTARTING",
    "UPGRADING",
    "FLUSHING",
    "RESTORING",
    "MIGRATING",
    "DELETING",
    "ERROR",
    "CREATEFAILED",
)
BUSY = {
    "CREATING": "DCS.4118",
    "EXTENDING": "DCS.4113",
    "RESTARTING": "DCS.4111",
    "UPGRADING": "DCS.4116",
    "FLUSHING": "DCS.4026",
    "RESTORING": "DCS.4097",
    "MIGRATING": "DCS.4026",
    "DELETING": "DCS.4026",
}
CHANGES = [
    RESIZE, RESIZE_CHECK, RESTART, RESTORE, SWITCHOVER, FLUSH, CONFIGURE, SWITCH_TLS, CHANGE_WHITELIST, BACKUP,
    *USER_CHANGES,
]  # fmt: skip


def refusal(operation: Operation[Any, Any], status: str, *unfinished: Operation[Any, Any]) -> str | None:
    """The error code of a request for the operation, or None."""
    tasks = [a_task(kind=other.kind) for other in unfinished]
    try:
        require_acceptable(operation, an_instance(status=status), tasks)
    except ApiError as error:
        return error.code
    return None


def test_kinds_and_names_are_stored_and_never_change() -> None:
    assert {kind: operation.name for kind, operation in OPERATIONS.items()} == {
        "create": "CreateInstance",
        "resize": "EXTEND",
        "restart": "RestartInstance",
        "restore": "RESTORE",
        "switchover": "masterStandbySwapJob",
        "upgrade": "UpgradeInstanceMinorVersion",
        "flush": "FlushInstance",
        "rebuild": "RebuildNode",
        "move_nodes": "MoveNodes",
        "node_status": "ChangeNodesStatus",
        "check": "ResizeCheck",
        "configure": "UpdateInstanceConfig",
        "confirm_client_addresses": "modifyClientIpTransJob",
        "confirm_no_tls": "UpdateSslSwitch",
        "confirm_no_whitelist": "AddWhitelist",
        "password": "modify",
        "commands": "RenameCommands",
        "create account": "CreateAcl",
        "change account": "ModifyAcl",
        "delete account": "DeleteAcl",
        "tls": "UpdateSslSwitch",
        "whitelist": "AddWhitelist",
        "scan_expired": "ScanExpireKey",
        "find_big_keys": "CreateBigkeyScanTask",
        "find_hot_keys": "CreateHotkeyScanTask",
        "close_clients": "KillClients",
        "backup": "BACKUPING",
        "online_migration": "OnlineMigration",
        "delete": "DeleteInstance",
    }


def test_nodes_run_in_every_status_but_while_an_instance_is_made_or_removed() -> None:
    assert {
        "RUNNING",
        "EXTENDING",
        "RESTARTING",
        "UPGRADING",
        "FLUSHING",
        "RESTORING",
        "MIGRATING",
        "ERROR",
    } == STATUSES_WITH_RUNNING_NODES


def test_a_status_names_one_operation_at_most() -> None:
    own = [operation.status_while_running for operation in OPERATIONS.values()]
    assert sorted(status for status in own if status != "RUNNING") == sorted(set(own) - {"RUNNING"})


def test_a_task_that_was_stored_is_read_as_its_operation_declares() -> None:
    resize: Task = a_task(kind="resize", params={"spec_code": "code", "new_capacity": "4"})
    assert RESIZE.params_of(resize).new_capacity == "4"
    change = {"param_id": "1", "param_name": "timeout", "old_value": "0", "new_value": "9"}
    assert CONFIGURE.params_of(a_task(params={"redis_config": [change]})).redis_config[0].new_value == "9"
    assert DELETE.params_of(a_task(params={})) == DELETE.params()


@pytest.mark.parametrize("operation", CHANGES)
@pytest.mark.parametrize("status", STATUSES)
def test_most_changes_need_a_running_instance(operation: Operation[Any, Any], status: str) -> None:
    expected = None if status == "RUNNING" else BUSY.get(status, "DCS.4049")
    assert refusal(operation, status) == expected


@pytest.mark.parametrize("status", STATUSES)
def test_an_instance_is_deleted_in_every_status(status: str) -> None:
    assert refusal(DELETE, status) == ("DCS.4099" if status == "DELETING" else None)


@pytest.mark.parametrize("operation", CHANGES)
def test_a_change_of_parameters_is_busy_though_the_status_does_not_show_it(operation: Operation[Any, Any]) -> None:
    assert refusal(operation, "RUNNING", CONFIGURE) == "DCS.4114"
    assert refusal(operation, "RUNNING", CHANGE_PASSWORD) == "DCS.4115"
    assert refusal(operation, "RUNNING", BACKUP) == "DCS.4096"
    assert refusal(operation, "RUNNING", CREATE_ACCOUNT) is None
    assert refusal(operation, "RUNNING", RESIZE_CHECK) is None
    assert refusal(operation, "RUNNING", RESIZE_CHECK, RESIZE) is None
    assert refusal(DELETE, "RUNNING", CONFIGURE) is None


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [
        (CREATE, "CREATEFAILED", None),
        (CREATE, "ERROR", "DCS.4049"),
        (RESIZE, "RUNNING", None),
        (RESIZE, "RESTARTING", BUSY["RESTARTING"]),
        (DELETE, "ERROR", None),
        (DELETE, "DELETING", BUSY["DELETING"]),
    ],
)
def test_a_retry_starts_from_where_the_failure_has_left_the_instance(
    operation: Operation[Any, Any], status: str, code: str | None
) -> None:
    if code is None:
        require_retriable(operation, an_instance(status=status))
        return
    with pytest.raises(ApiError) as refused:
        require_retriable(operation, an_instance(status=status))
    assert refused.value.code == code


@pytest.mark.parametrize("operation", CHANGES)
def test_nothing_is_accepted_behind_a_deletion_that_waits(operation: Operation[Any, Any]) -> None:
    assert refusal(operation, "RUNNING", RESIZE_CHECK, DELETE) == "DCS.4026"


def test_a_broken_node_blocks_changes_of_nodes_and_is_named() -> None:
    broken = Incident(
        id="1", instance_id="i", project_id="p", kind="broken_node", error_code="DCS.9001", detail="node n", began_at=1
    )
    for operation in (RESIZE, RESTART):
        with pytest.raises(ApiError, match="node n") as refused:
            require_acceptable(operation, an_instance(), [], [broken])
        assert refused.value.code == "DCS.4104"
    for other in (FLUSH, SWITCHOVER, CONFIGURE, REBUILD, DELETE):
        require_acceptable(other, an_instance(), [], [broken])
    with pytest.raises(ApiError, match="node n") as refused:
        require_acceptable(RESIZE, an_instance(status="ERROR"), [], [broken])
    assert refused.value.code == "DCS.4049"
    require_acceptable(REBUILD, an_instance(status="ERROR"), [], [broken])
    assert refusal(RESTART, "RUNNING", REBUILD) == "DCS.4104"
