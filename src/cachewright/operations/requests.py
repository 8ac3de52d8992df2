"""Requests of callers: decoded from the contract's shapes, not yet validated against the instance."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cachewright.flavors import Flavor
from cachewright.model.accounts import AccountRole
from cachewright.model.backups import BackupKind
from cachewright.model.instances import Role
from cachewright.model.tasks import DEFAULT_MODE, MigrationMode
from cachewright.operations.restore_content import BackupContent
from cachewright.operations.start_failure import StartFailure


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """New instances, all alike. `attributes` are read back to the caller unchanged.

    :ivar port: port of the first node for clients; None lets the server choose.
    :ivar password: None for an instance that accepts clients without a password.
    :ivar disabled_commands: commands that no client may use.
    :ivar enable_ssl: clients connect with TLS.
    :ivar template_id: template of the first parameters; None for the defaults, or those of the backup.
    :ivar content: backup whose data the instances begin with; None for empty instances.
    """

    names: tuple[str, ...]
    flavor: Flavor
    engine_version: str
    port: int | None
    password: str | None
    disabled_commands: tuple[str, ...] = ()
    attributes: dict[str, Any]
    template_id: str | None = None
    enable_ssl: bool = False
    content: BackupContent | None = None


class RestoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A restore of a backup into the instance.

    :ivar safety_backup: make a backup of the present data first.
    :ivar storage_is_shared: agents of other hosts reach the storage of backups.
    """

    content: BackupContent
    storage_is_shared: bool = False
    backup_remark: str = ""
    remark: str = ""
    safety_backup: bool = True


class ResizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Another size.

    :ivar capacity_mb: None if the caller named only the spec code.
    :ivar mode: how slots move.
    :ivar reserved_ip: addresses of nodes that stay.
    :ivar node_list: ids of nodes that leave.
    :ivar in_window: begin in the maintenance window.
    """

    spec_code: str
    capacity_mb: int | None = None
    mode: MigrationMode = DEFAULT_MODE
    reserved_ip: tuple[str, ...] = ()
    node_list: tuple[str, ...] = ()
    in_window: bool = False


class ConfigureRequest(msgspec.Struct, frozen=True):
    """New values of parameters, by name."""

    values: Mapping[str, str]


class SwitchoverRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the primary of one shard.

    :ivar roles: present role of each node, by its id.
    :ivar group_id: id of the shard; None for the only shard of a primary with its replicas.
    :ivar node_id: the replica that takes over; None for the one with the best priority.
    """

    roles: Mapping[str, Role]
    group_id: str | None = None
    node_id: str | None = None


class PasswordRequest(msgspec.Struct, frozen=True):
    """A new password of the instance.

    :ivar password: None to accept clients without a password.
    :ivar old_password: the present one, if the caller must know it.
    """

    password: str | None
    old_password: str | None = None


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account to create."""

    id: str
    name: str
    role: AccountRole
    password: str
    description: str


class AccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an account. None keeps what it has.

    :ivar old_password: the present password, if the caller must know it.
    """

    account_id: str
    role: AccountRole | None = None
    password: str | None = None
    old_password: str | None = None


class CommandsRequest(msgspec.Struct, frozen=True):
    """The commands that clients may not use from now on, in place of the present ones."""

    disabled: tuple[str, ...]


class BackupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup.

    :ivar id: of the backup, a new UUID.
    :ivar kind: `auto` for one by the schedule of the instance.
    :ivar expires_at: when it may be deleted, epoch milliseconds; None for never.
    :ivar moment: second in the past whose data is backed up, epoch seconds; None for the present data.
    """

    id: str
    kind: BackupKind = "manual"
    moment: int | None = None
    remark: str = ""
    expires_at: int | None = None


class RebuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A repair of one node.

    :ivar is_serving_primary: the node runs and is the primary of its shard.
    :ivar failure: why it does not start; None if it runs.
    """

    node_id: str
    is_serving_primary: bool = False
    failure: StartFailure | None = None


MoveCause = Literal["zones", "drain", "rebalance", "silent_host", "lost_host"]
"""Why nodes move. Nodes of a `silent_host` move if the others of their cluster agree that they have failed, those of a
`lost_host` because the operator knows that it does not come back."""


class NodeMove(msgspec.Struct, frozen=True):
    """A node that leaves its host. `to` is the host that it gets; None lets the placement choose."""

    node_id: str
    to: str | None = None


class MoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that move to other hosts.

    :ivar zones: zones of the instance from then on; empty for no change.
    """

    cause: MoveCause
    moves: tuple[NodeMove, ...]
    zones: tuple[str, ...] = ()


class NodeStatusRequest(msgspec.Struct, frozen=True):
    """Nodes to start or to stop; without ids, all nodes of the instance."""

    action: Literal["start", "stop"]
    node_ids: tuple[str, ...] = ()
