"""Permissions: each route names an action, and this table gives the role that the action requires.

Actions of the cloud have the cloud's names. A role includes the permissions of all lesser roles.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Identity, RoleName
from cachewright.operations import OPERATIONS

ROLES: tuple[RoleName, ...] = ("viewer", "operator", "admin")


class Action(msgspec.Struct, frozen=True):
    """An action that a role permits.

    :ivar least: the least role that permits it; None if every authenticated caller may do it.
    :ivar changing: whether requests are recorded in the audit log.
    """

    name: str
    least: RoleName | None
    changing: bool


_TABLE = (
    Action("dcs:instance:list", "viewer", changing=False),
    Action("dcs:instance:get", "viewer", changing=False),
    Action("dcs:instance:getConfiguration", "viewer", changing=False),
    Action("dcs:instance:getBackgroundTask", "viewer", changing=False),
    Action("dcs:aclaccount:list", "viewer", changing=False),
    Action("dcs:tag:list", "viewer", changing=False),
    Action("dcs:flavor:list", "viewer", changing=False),
    Action("dcs:template:list", "viewer", changing=False),
    Action("dcs:instance:listBackups", "viewer", changing=False),
    Action("dcs:migrationTask:list", "viewer", changing=False),
    Action("dcs:quota:get", "viewer", changing=False),
    Action("dcs:instance:diagnose", "operator", changing=False),  # it shows names of keys and parts of values
    Action("dcs:instance:create", "operator", changing=True),
    Action("dcs:instance:modify", "operator", changing=True),
    Action("dcs:instance:scale", "operator", changing=True),
    Action("dcs:instance:closeClients", "operator", changing=True),
    Action("dcs:instance:modifyConfigureation", "operator", changing=True),  # the cloud's spelling
    Action("dcs:instance:modifyStatus", "operator", changing=True),
    Action("dcs:instance:restore", "operator", changing=True),
    Action("dcs:instance:swap", "operator", changing=True),
    Action("dcs:instance:controlBackgroundTask", "operator", changing=True),
    Action("dcs:instance:modifyAuthInfo", "operator", changing=True),
    Action("dcs:instance:resetAuthInfo", "operator", changing=True),
    Action("dcs:aclaccount:create", "operator", changing=True),
    Action("dcs:aclaccount:modify", "operator", changing=True),
    Action("dcs:aclaccount:delete", "operator", changing=True),
    Action("dcs:template:modify", "operator", changing=True),
    Action("dcs:migrationTask:modify", "operator", changing=True),
    Action("dcs:tag:modify", "operator", changing=True),
    Action("dcs:instance:backup", "operator", changing=True),
    Action("dcs:instance:downloadBackup", "operator", changing=True),  # it gives access to all data, so it is audited
    Action("dcs:instance:delete", "admin", changing=True),
    Action("dcs:instance:deleteBackup", "admin", changing=True),
    Action("dcs:instance:deleteBackgroundTask", "admin", changing=True),
    Action("dcs:host:list", "admin", changing=False),
    Action("dcs:server:list", "admin", changing=False),
    Action("dcs:audit:list", "admin", changing=False),
    Action("dcs:webhook:list", "admin", changing=False),
    Action("dcs:webhook:modify", "admin", changing=True),
    Action("dcs:zone:list", None, changing=False),
    Action("iam:identity:get", None, changing=False),
    Action("iam:token:revoke", None, changing=True),
)
ACTIONS = {action.name: action for action in _TABLE}

_STRICTEST = "dcs:instance:delete"

OPTION = "action"
OPEN: Mapping[str, Any] = {OPTION: None}
"""Option of routes that need no authentication."""


def needs(name: str) -> Mapping[str, Any]:
    """Return the option of a route: `@get(path, opt=needs("dcs:instance:get"))`."""
    return {OPTION: ACTIONS[name]}


def may(identity: Identity, action: Action) -> bool:
    if action.least is None:
        return True
    return identity.role is not None and ROLES.index(identity.role) >= ROLES.index(action.least)


def require(identity: Identity, action: Action) -> None:
    """Raise ApiError DCS.2007 if the role does not permit the action."""
    if not may(identity, action):
        raise ApiError(errors.PERMISSION_DENIED, role=identity.role or "none", action=action.name)


def require_kind(identity: Identity, kind: str) -> None:
    """Raise ApiError DCS.2007 if the role does not permit to start tasks of this kind. The same role is required to
    control, cancel or retry them. Tasks of unknown operations require an admin."""
    operation = OPERATIONS.get(kind)
    require(identity, ACTIONS[operation.permission if operation else _STRICTEST])
