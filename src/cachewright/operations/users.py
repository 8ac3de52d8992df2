"""Changes of the password, the accounts and the disabled commands of an instance.

A request records the change as pending. The task makes it on every node, one command for each user and node; open
connections stay. The record changes last, in the transaction that ends the task: when the server dies in between, the
next one completes the change. When a node refuses or none answers, all get back what the record has. A node that does
not answer has the change in its file for its next start, and `ParameterEnforcement` makes it when the node comes back
without a restart.

Parameters of tasks contain no secrets: passwords are in the record, encrypted.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.addresses import is_loopback
from cachewright.model import accounts
from cachewright.model.accounts import CHANGING, Account, AccountChange, PasswordChange
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NoArguments, NodeArguments
from cachewright.operations.actions.users import check_users, restore_users, set_users
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation, RequestT
from cachewright.operations.requests import AccountRequest, CommandsRequest, NewAccount, PasswordRequest
from cachewright.operations.step_names import POST_CHECK
from cachewright.operations.user_records import UserParams, after_failure, after_success
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.acl import CLIENT_USER, INTERNAL_USERS, hashed

MOST_ACCOUNTS = 18
"""Maximum number of accounts of an instance besides `default`, as on the cloud."""

_RESERVED = {CLIENT_USER, *INTERNAL_USERS}
_NODE_SECONDS = 0.02
_EXPECTED_SECONDS = 0.2  # before the plan, besides the nodes
_CHECK_SECONDS = 0.05
_LANES = 8
_CHANGE = "User change."


class _UserChange(Operation[RequestT, UserParams]):
    """Common part of these operations."""

    params = UserParams
    outline = (_CHANGE, POST_CHECK)
    interruptible = False
    status_while_running = "RUNNING"

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS + _NODE_SECONDS * len(nodes) / _LANES

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        nodes = [node for node in await context.nodes(task.instance_id) if node.should_run]
        check = check_users.sub_step("User check.", effort("check", seconds=_CHECK_SECONDS), NoArguments())
        each = [_on_node(node, place) for place, node in enumerate(nodes)]
        return build(task.run_id, {_CHANGE: each, POST_CHECK: [check]})

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Give every node what the record has; one that does not respond gets it when it is back."""
        instance = await context.instance(task)
        await restore_users(context, instance, await context.nodes(task.instance_id))
        await asyncio.to_thread(_record_failure, context, task)

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        instance = instances.find(connection, task.instance_id)
        changed = after_success(instance, task) if instance else None
        if changed is not None:
            instances.change_access(connection, changed)


class ChangePassword(_UserChange[PasswordRequest]):
    kind = "password"
    name = "modify"
    permission = "dcs:instance:modifyAuthInfo"
    busy = errors.INSTANCE_CHANGING_PASSWORD

    def validate(self, instance: Instance, nodes: Sequence[Node], request: PasswordRequest) -> Accepted[UserParams]:
        if request.password is None and not is_loopback(instance.address):
            reason = f"other machines reach {instance.address}, so the instance needs a password"
            raise ApiError(errors.INVALID_NO_PASSWORD_ACCESS, reason=reason)
        _require_reachable(nodes)
        if request.old_password is not None and request.old_password != instance.password:
            raise ApiError(errors.WRONG_PASSWORD)
        return Accepted(UserParams())

    def requested(self, connection: sa.Connection, instance: Instance, request: PasswordRequest, task: Task) -> None:
        pending = PasswordChange(task.id, request.password)
        instances.change_access(connection, msgspec.structs.replace(instance, pending_password=pending))


class DisableCommands(_UserChange[CommandsRequest]):
    kind = "commands"
    name = "RenameCommands"
    permission = "dcs:instance:modify"
    busy = errors.INSTANCE_CONFIGURING

    def validate(self, instance: Instance, nodes: Sequence[Node], request: CommandsRequest) -> Accepted[UserParams]:
        _require_reachable(nodes)
        return Accepted(UserParams(disabled_commands=request.disabled), {"rename_commands": sorted(request.disabled)})


class CreateAccount(_UserChange[NewAccount]):
    kind = "create account"
    name = "CreateAcl"
    permission = "dcs:aclaccount:create"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: NewAccount) -> Accepted[UserParams]:
        _require_reachable(nodes)
        if request.name.lower() in _RESERVED:
            raise ApiError(errors.INVALID_PARAMETER, parameter="account_name", reason="it is reserved")
        if request.name in {account.name for account in instance.accounts}:
            raise ApiError(errors.INVALID_PARAMETER, parameter="account_name", reason="an account has this name")
        if len(instance.accounts) >= MOST_ACCOUNTS:
            raise ApiError(errors.LIMIT_EXCEEDED, reason=f"an instance has at most {MOST_ACCOUNTS} accounts")
        return Accepted(UserParams(account_id=request.id), {"account_name": request.name})

    def requested(self, connection: sa.Connection, instance: Instance, request: NewAccount, task: Task) -> None:
        account = Account(
            id=request.id,
            name=request.name,
            role=request.role,
            password_hash=hashed(request.password),
            description=request.description,
            status="CREATING",
            created_at=task.created_at,
            on_nodes=False,
            pending=AccountChange(task_id=task.id),
        )
        changed = msgspec.structs.replace(instance, accounts=(*instance.accounts, account))
        instances.change_access(connection, changed)


class ChangeAccount(_UserChange[AccountRequest]):
    kind = "change account"
    name = "ModifyAcl"
    permission = "dcs:aclaccount:modify"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: AccountRequest) -> Accepted[UserParams]:
        _require_reachable(nodes)
        account = changeable(instance, request.account_id)
        if not account.on_nodes:
            raise ApiError(errors.INSTANCE_STATE_CONFLICT)
        if request.old_password is not None and hashed(request.old_password) != account.password_hash:
            raise ApiError(errors.WRONG_PASSWORD)
        return Accepted(UserParams(account_id=account.id), {"account_name": account.name})

    def requested(self, connection: sa.Connection, instance: Instance, request: AccountRequest, task: Task) -> None:
        change = AccountChange(
            task_id=task.id, role=request.role, password_hash=request.password and hashed(request.password)
        )
        _record_pending(connection, instance, request.account_id, "UPDATING", change)


class DeleteAccount(_UserChange[AccountRequest]):
    """Deletes an account. Refused while a task changes any account: terraform reads the newest task of this name, and
    takes one that waits for others as failed. It repeats a request that is refused."""

    kind = "delete account"
    name = "DeleteAcl"
    permission = "dcs:aclaccount:delete"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: AccountRequest) -> Accepted[UserParams]:
        _require_reachable(nodes)
        account = changeable(instance, request.account_id)
        if any(other.status in CHANGING for other in instance.accounts):
            raise ApiError(errors.INSTANCE_STATE_CONFLICT)
        return Accepted(UserParams(account_id=account.id), {"account_name": account.name})

    def requested(self, connection: sa.Connection, instance: Instance, request: AccountRequest, task: Task) -> None:
        change = AccountChange(task_id=task.id, deletes=True)
        _record_pending(connection, instance, request.account_id, "DELETING", change)


def changeable(instance: Instance, account_id: str) -> Account:
    """Return an account that no task changes. ApiError if it does not exist, or a task changes it."""
    account = accounts.find(instance.accounts, account_id)
    if account is None:
        raise ApiError(errors.ACCOUNT_NOT_FOUND)
    if account.status in CHANGING:
        raise ApiError(errors.INSTANCE_STATE_CONFLICT)
    return account


def _record_pending(
    connection: sa.Connection,
    instance: Instance,
    account_id: str,
    status: accounts.AccountStatus,
    change: AccountChange,
) -> None:
    account = accounts.find(instance.accounts, account_id)
    if account is None:
        raise LookupError(f"account {account_id} does not exist")
    changed = msgspec.structs.replace(account, status=status, pending=change)
    replaced = msgspec.structs.replace(instance, accounts=accounts.replaced(instance.accounts, changed))
    instances.change_access(connection, replaced)


def _record_failure(context: OperationContext, task: Task) -> None:
    with context.database.write() as connection:
        instance = instances.find(connection, task.instance_id)
        if instance is not None:
            instances.change_access(connection, after_failure(instance, task))


def _require_reachable(nodes: Sequence[Node]) -> None:
    """ApiError if the control plane reaches a node with the password of clients."""
    for node in nodes:
        if node.access == "password":
            raise ApiError(errors.INSTANCE_NOT_RUNNING, reason=f"node {node.id} of an earlier release does not answer")


def _on_node(node: Node, place: int) -> SubStepSpec:
    name = f"User change. Shard {node.shard}, {node.role}"
    return set_users.sub_step(name, effort(f"nodes {place % _LANES}", seconds=_NODE_SECONDS), NodeArguments(node.id))


CHANGE_PASSWORD = ChangePassword()
DISABLE_COMMANDS = DisableCommands()
CREATE_ACCOUNT = CreateAccount()
CHANGE_ACCOUNT = ChangeAccount()
DELETE_ACCOUNT = DeleteAccount()
USER_CHANGES = (CHANGE_PASSWORD, DISABLE_COMMANDS, CREATE_ACCOUNT, CHANGE_ACCOUNT, DELETE_ACCOUNT)
