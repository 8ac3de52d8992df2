"""Accounts of an instance: users of its nodes besides `default`, and the password of `default`. Pure.

A change is recorded as pending when it is requested, and applied to the record when its task has succeeded. Until then
nodes that restart keep what they had. After a failure the pending change stays for a retry of the task.
"""

from typing import Literal

import msgspec

AccountRole = Literal["read", "write"]
AccountStatus = Literal["CREATING", "AVAILABLE", "UPDATING", "DELETING", "CREATEFAILED", "DELETEFAILED", "ERROR"]

CHANGING = frozenset({"CREATING", "UPDATING", "DELETING"})
"""Statuses in which a task of the account has not ended."""

_AFTER_FAILURE: dict[AccountStatus, AccountStatus] = {
    "CREATING": "CREATEFAILED",
    "UPDATING": "ERROR",
    "DELETING": "DELETEFAILED",
}


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that a task makes.

    :ivar role: new role; None to keep it.
    :ivar password_hash: new password; None to keep it.
    :ivar deletes: the account is deleted.
    """

    task_id: str
    role: AccountRole | None = None
    password_hash: str | None = None
    deletes: bool = False


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One account.

    :ivar password_hash: SHA-256 of the password, in hexadecimal digits. The password itself is not stored.
    :ivar on_nodes: False until its creation has succeeded.
    :ivar pending: the change in progress, or the last one that failed.
    """

    id: str
    name: str
    role: AccountRole
    password_hash: str
    description: str
    status: AccountStatus
    created_at: int
    on_nodes: bool = True
    pending: AccountChange | None = None


class PasswordChange(msgspec.Struct, frozen=True):
    """A change of the password of `default` that a task makes; None lets every client in."""

    task_id: str
    password: str | None


Accounts = tuple[Account, ...]


def replaced(accounts: Accounts, changed: Account) -> Accounts:
    """Return the accounts with `changed` in place of the one with its id."""
    return tuple(changed if account.id == changed.id else account for account in accounts)


def without(accounts: Accounts, account_id: str) -> Accounts:
    return tuple(account for account in accounts if account.id != account_id)


def find(accounts: Accounts, account_id: str) -> Account | None:
    return next((account for account in accounts if account.id == account_id), None)


def applied(accounts: Accounts, account_id: str, task_id: str) -> Accounts | None:
    """Return the accounts after the change that this task makes; None if a later change has replaced it."""
    account = find(accounts, account_id)
    change = account.pending if account else None
    if account is None or change is None or change.task_id != task_id:
        return None
    if change.deletes:
        return without(accounts, account_id)
    return replaced(
        accounts,
        msgspec.structs.replace(
            account,
            role=change.role or account.role,
            password_hash=change.password_hash or account.password_hash,
            status="AVAILABLE",
            on_nodes=True,
            pending=None,
        ),
    )


def failed(accounts: Accounts, account_id: str, task_id: str) -> Accounts:
    """Return the accounts after the failure of this task. Nodes have what they had before."""
    account = find(accounts, account_id)
    if account is None or account.pending is None or account.pending.task_id != task_id:
        return accounts
    status = _AFTER_FAILURE.get(account.status, account.status)
    return replaced(accounts, msgspec.structs.replace(account, status=status))
