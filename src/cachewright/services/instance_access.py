"""Passwords and accounts of instances: verify the present password, start the tasks that change them.

After five consecutive wrong passwords, changes of the password are locked for five minutes, as on the cloud. The count
is in the database: a restart of the server does not reset it.
"""

import hmac
import logging
from typing import Literal

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model import accounts
from cachewright.model.accounts import Account
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations.requests import AccountRequest, NewAccount, PasswordRequest
from cachewright.operations.users import (
    CHANGE_ACCOUNT,
    CHANGE_PASSWORD,
    CREATE_ACCOUNT,
    DELETE_ACCOUNT,
    changeable,
)
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import instances, password_attempts
from cachewright.store.database import Database
from cachewright.valkey.acl import hashed

log = logging.getLogger(__name__)

MOST_TRIES = 5
LOCK_MINUTES = 5
_MINUTE_MS = 60_000


class PasswordResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a request to change a password.

    :ivar task_id: the task that changes it, after a success.
    :ivar tries_left: tries until changes are locked, after a wrong password.
    :ivar lock_minutes: how long they are locked then.
    :ivar minutes_left: time until they are possible again, if they are locked.
    """

    result: Literal["success", "passwordFailed", "locked"]
    task_id: str = ""
    tries_left: int | None = None
    lock_minutes: int | None = None
    minutes_left: int | None = None


class InstanceAccess:
    """All methods raise ApiError DCS.3022 if the instance does not exist in the project, DCS.4980 if the account does
    not exist, and errors of `TaskService.submit`."""

    def __init__(self, database: Database, tasks: TaskService) -> None:
        self._database = database
        self._tasks = tasks

    def show(self, principal: Principal, instance_id: str) -> Instance:
        with self._database.read() as connection:
            return instance_of(connection, principal.project_id, instance_id)

    def account(self, principal: Principal, instance_id: str, account_id: str) -> Account:
        return _account_of(self.show(principal, instance_id), account_id)

    def change_password(self, principal: Principal, instance_id: str, request: PasswordRequest) -> PasswordResult:
        """Change the password of the instance. `old_password` is verified if the request has one. Raises ApiError
        DCS.4850 if it has one and the instance has no password."""
        with self._database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            if request.old_password is not None and instance.password is None:
                raise ApiError(errors.PASSWORD_FREE)
            wanted = None if instance.password is None else hashed(instance.password)
            refusal = _verified(connection, instance, instance.id, request.old_password, wanted)
        if refusal:
            return refusal
        return _started(self._tasks.submit(CHANGE_PASSWORD, principal, instance_id, request))

    def change_account_password(
        self, principal: Principal, instance_id: str, request: AccountRequest
    ) -> PasswordResult:
        """Change the password of an account. `old_password` is verified if the request has one."""
        with self._database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            account = _account_of(instance, request.account_id)
            refusal = _verified(connection, instance, account.id, request.old_password, account.password_hash)
        if refusal:
            return refusal
        return _started(self._tasks.submit(CHANGE_ACCOUNT, principal, instance_id, request))

    def create_account(self, principal: Principal, instance_id: str, request: NewAccount) -> Task:
        return self._tasks.submit(CREATE_ACCOUNT, principal, instance_id, request)

    def change_role(self, principal: Principal, instance_id: str, request: AccountRequest) -> Task:
        return self._tasks.submit(CHANGE_ACCOUNT, principal, instance_id, request)

    def delete_account(self, principal: Principal, instance_id: str, account_id: str) -> Task:
        return self._tasks.submit(DELETE_ACCOUNT, principal, instance_id, AccountRequest(account_id=account_id))

    def describe_account(self, principal: Principal, instance_id: str, account_id: str, description: str) -> None:
        """Change the description of an account, which only the database has. Raises ApiError DCS.4026 while a task
        changes the account."""
        with self._database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            described = msgspec.structs.replace(changeable(instance, account_id), description=description)
            changed = accounts.replaced(instance.accounts, described)
            instances.change_access(connection, msgspec.structs.replace(instance, accounts=changed))


def _account_of(instance: Instance, account_id: str) -> Account:
    account = accounts.find(instance.accounts, account_id)
    if account is None:
        raise ApiError(errors.ACCOUNT_NOT_FOUND)
    return account


def _verified(
    connection: sa.Connection, instance: Instance, owner: str, password: str | None, wanted: str | None
) -> PasswordResult | None:
    """Return the refusal if changes are locked or the password is wrong, else None.

    :param owner: id of the instance or the account.
    :param password: what the caller has sent as the present password; None if the caller need not know it.
    :param wanted: hash of the present password; None if there is none.
    """
    now = now_ms()
    failures, locked_until = password_attempts.get(connection, owner)
    if locked_until is not None and locked_until > now:
        minutes_left = -(-(locked_until - now) // _MINUTE_MS)
        return PasswordResult(result="locked", lock_minutes=LOCK_MINUTES, minutes_left=minutes_left)
    if password is None:
        return None
    if wanted is not None and hmac.compare_digest(hashed(password), wanted):
        password_attempts.clear(connection, owner)
        return None
    failures = 1 if locked_until is not None else failures + 1
    until = now + LOCK_MINUTES * _MINUTE_MS if failures >= MOST_TRIES else None
    password_attempts.put(connection, owner, instance.id, failures, until)
    log.warning("instance %s: a wrong present password, %d in sequence", instance.id, failures)
    return PasswordResult(result="passwordFailed", lock_minutes=LOCK_MINUTES, tries_left=MOST_TRIES - failures)


def _started(task: Task) -> PasswordResult:
    return PasswordResult(result="success", task_id=task.id)
