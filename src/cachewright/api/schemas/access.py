"""Shapes of passwords, accounts and disabled commands. Types follow the SDK's models."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import forms
from cachewright.api.schemas.instance_bodies import Description
from cachewright.model.accounts import Account, AccountRole, AccountStatus
from cachewright.model.instances import Instance
from cachewright.services.instance_access import PasswordResult
from cachewright.valkey.acl import CLIENT_USER

_Password = Annotated[str, msgspec.Meta(max_length=1024)]


class PasswordBody(msgspec.Struct, frozen=True):
    old_password: _Password
    new_password: _Password


class ResetBody(msgspec.Struct, frozen=True):
    """A new password, or `no_password_access` true for none."""

    new_password: _Password = ""
    no_password_access: bool = False


class PasswordChanged(msgspec.Struct, frozen=True, kw_only=True):
    """`success` means that the background task has been started. Times are in minutes.

    :ivar lock_time: how long changes are locked after too many wrong passwords; null after a correct one.
    """

    result: Literal["success", "passwordFailed", "locked"]
    message: str
    lock_time: str | None = None
    lock_time_left: str | None = None
    retry_times_left: str | None = None


class PasswordReset(msgspec.Struct, frozen=True, kw_only=True):
    """`code` 1: the background task has been started; 3: changes are locked. Times are in minutes."""

    code: Literal["1", "3"]
    message: Literal["success", "instance is locked"]
    ext_message: str | None = None
    lock_time: str | None = None
    lock_time_left: str | None = None
    retry_times_left: str | None = None


class AccountBody(msgspec.Struct, frozen=True, kw_only=True):
    account_name: Annotated[str, msgspec.Meta(pattern=forms.ACCOUNT_NAME)]
    account_role: AccountRole
    account_password: _Password
    description: Description = ""


class RoleBody(msgspec.Struct, frozen=True):
    account_role: AccountRole


class RemarkBody(msgspec.Struct, frozen=True):
    description: Description = ""


class NewPasswordBody(msgspec.Struct, frozen=True):
    new_password: _Password


class Accepted(msgspec.Struct, frozen=True):
    """An empty object: the background task has been started."""


class RoleChanged(msgspec.Struct, frozen=True):
    instance_id: str
    job_id: str


class ListedAccount(msgspec.Struct, frozen=True, kw_only=True):
    account_id: str
    account_name: str
    account_type: Literal["default", "normal"]
    instance_id: str
    status: AccountStatus
    account_role: AccountRole
    description: str
    error_code: None = None


class AccountList(msgspec.Struct, frozen=True):
    accounts: list[ListedAccount]


class RenamedCommands(msgspec.Struct, frozen=True):
    """Commands that clients may not use, because the owner of the instance has disabled them."""

    rename_commands: list[str]


def account_list(instance: Instance) -> AccountList:
    """Return the default account first, then the others in the order of their creation."""
    default = ListedAccount(
        account_id=instance.id,
        account_name=CLIENT_USER,
        account_type="default",
        instance_id=instance.id,
        status="AVAILABLE",
        account_role="write",
        description="",
    )
    return AccountList([default, *(_listed(instance, account) for account in instance.accounts)])


def changed(outcome: PasswordResult) -> PasswordChanged:
    messages = {
        "success": f"The password is changed by task {outcome.task_id}.",
        "passwordFailed": "The old password is wrong.",
        "locked": "Too many wrong passwords. Changes are locked.",
    }
    return PasswordChanged(
        result=outcome.result,
        message=messages[outcome.result],
        lock_time=_shown(outcome.lock_minutes),
        lock_time_left=_shown(outcome.minutes_left),
        retry_times_left=_shown(outcome.tries_left),
    )


def reset(outcome: PasswordResult) -> PasswordReset:
    if outcome.result == "success":
        return PasswordReset(code="1", message="success")
    return PasswordReset(
        code="3",
        message="instance is locked",
        ext_message="Too many wrong passwords. Changes are locked.",
        lock_time=_shown(outcome.lock_minutes),
        lock_time_left=_shown(outcome.minutes_left),
        retry_times_left=_shown(outcome.tries_left),
    )


def _listed(instance: Instance, account: Account) -> ListedAccount:
    return ListedAccount(
        account_id=account.id,
        account_name=account.name,
        account_type="normal",
        instance_id=instance.id,
        status=account.status,
        account_role=account.role,
        description=account.description,
    )


def _shown(number: int | None) -> str | None:
    return None if number is None else str(number)
