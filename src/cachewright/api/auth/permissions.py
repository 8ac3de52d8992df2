"""Who may do what: each route names its action, and this table says which role that takes.

Names of the cloud's own actions are the cloud's. A role may do what the lesser ones may.
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
    """:ivar least: the least role that may do it; None for everybody with credentials.
    :ivar changing: calls of it are kept in the audit log.
    """

    name: str
    least: RoleName | None
    changing: bool


_TABLE = (
    Action("dcs:instance:list", "viewer", changing=False),
    Action("dcs:instance:get", "viewer", changing=False),
    Action("dcs:instance:getConfiguration", "viewer", changing=False),
    Action("dcs:instance:getBackgroundTask", "viewer", changing=False),
    Action("dcs:tag:list", "viewer", changing=False),
    Action("dcs:flavor:list", "viewer", changing=False),
    Action("dcs:quota:get", "viewer", changing=False),
    Action("dcs:instance:create", "operator", changing=True),
    Action("dcs:instance:modify", "operator", changing=True),
    Action("dcs:instance:scale", "operator", changing=True),
    Action("dcs:instance:modifyConfigureation", "operator", changing=True),  # the cloud's spelling
    Action("dcs:instance:modifyStatus", "operator", changing=True),
    Action("dcs:instance:controlBackgroundTask", "operator", changing=True),
    Action("dcs:tag:modify", "operator", changing=True),
    Action("dcs:instance:delete", "admin", changing=True),
    Action("dcs:instance:deleteBackgroundTask", "admin", changing=True),
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
"""For routes that ask nothing of who calls them."""


def needs(name: str) -> Mapping[str, Any]:
    """What a route is declared with: `@get(path, opt=needs("dcs:instance:get"))`."""
    return {OPTION: ACTIONS[name]}


def may(identity: Identity, action: Action) -> bool:
    if action.least is None:
        return True
    return identity.role is not None and ROLES.index(identity.role) >= ROLES.index(action.least)


def require(identity: Identity, action: Action) -> None:
    """ApiError DCS.2007 where the role does not suffice."""
    if not may(identity, action):
        raise ApiError(errors.PERMISSION_DENIED, role=identity.role or "none", action=action.name)


def require_kind(identity: Identity, kind: str) -> None:
    """ApiError DCS.2007 where the role does not suffice to start a task of this kind: who may not start a task may not
    control, cancel or retry it. A kind of an unknown operation is for admins."""
    operation = OPERATIONS.get(kind)
    require(identity, ACTIONS[operation.permission if operation else _STRICTEST])
