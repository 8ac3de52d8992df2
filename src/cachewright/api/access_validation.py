"""Rules on passwords, accounts and disabled commands.

Sources: the cloud's reference of CreateInstance, UpdatePassword, ResetPassword and CreateAclAccount, and its pages on
renaming critical commands and on ACL users.
"""

import re
from collections.abc import Mapping
from typing import Any

from cachewright import errors
from cachewright.api.requests import refused
from cachewright.api.schemas.access import AccountBody, NewPasswordBody, PasswordBody, RemarkBody, ResetBody
from cachewright.api.schemas.instance_bodies import CreateBody
from cachewright.api.texts import require_lines
from cachewright.errors import ApiError
from cachewright.model.accounts import Account
from cachewright.operations.requests import AccountRequest, NewAccount, PasswordRequest

PASSWORD_LENGTH = (8, 32)
"""Minimum and maximum length of an instance's password. The console's form checks the same."""

ACCOUNT_PASSWORD_LENGTH = (8, 64)

DISABLED_ON_REQUEST = ("command", "flushall", "flushdb", "hgetall", "hscan", "keys", "scan", "sscan", "zscan")
"""Commands that `rename_commands` may name."""

_CHARACTERS = re.compile(r"[a-zA-Z0-9`~!@#$^&*()\-_=+\\|{}:'\",<.>/?]*")
_ACCOUNT_CHARACTERS = re.compile(r"[a-zA-Z0-9`~!@#$%^&*()\-_=+\\|{}'\",<.>/?]*")
_CLASSES = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]")


def first_password(body: CreateBody) -> str | None:
    """Return the password of a new instance. Raises ApiError with the code of the fault."""
    if body.no_password_access:
        if body.password:
            raise refused("password", "an instance with no_password_access takes none")
        return None
    if not body.password:
        raise refused("password", "it is missing, and no_password_access is not true")
    return _of_instance(body.password)


def password_change(body: PasswordBody) -> PasswordRequest:
    """Raises ApiError with the code of the invalid field."""
    if body.new_password == body.old_password:
        raise refused("new_password", "it is the old one")
    return PasswordRequest(_of_instance(body.new_password), body.old_password)


def password_reset(body: ResetBody) -> PasswordRequest:
    """Raises ApiError with the code of the invalid field."""
    if body.no_password_access:
        if body.new_password:
            raise ApiError(errors.UNEXPECTED_NEW_PASSWORD)
        return PasswordRequest(None)
    if not body.new_password:
        raise refused("new_password", "it is missing, and no_password_access is not true")
    return PasswordRequest(_of_instance(body.new_password))


def new_account(body: AccountBody, account_id: str) -> NewAccount:
    """Raises ApiError with the code of the invalid field."""
    require_lines("description", body.description)
    return NewAccount(
        id=account_id,
        name=body.account_name,
        role=body.account_role,
        password=_of_account(body.account_password, body.account_name),
        description=body.description,
    )


def remark(body: RemarkBody) -> str:
    """Raises ApiError DCS.4011."""
    require_lines("description", body.description)
    return body.description


def account_password_change(body: PasswordBody, account: Account) -> AccountRequest:
    """Raises ApiError with the code of the invalid field."""
    if body.new_password == body.old_password:
        raise refused("new_password", "it is the old one")
    password = _of_account(body.new_password, account.name)
    return AccountRequest(account_id=account.id, password=password, old_password=body.old_password)


def account_password_reset(body: NewPasswordBody, account: Account) -> AccountRequest:
    """Raises ApiError DCS.4019."""
    return AccountRequest(account_id=account.id, password=_of_account(body.new_password, account.name))


def _of_account(password: str, name: str) -> str:
    if password in {name, name[::-1]}:
        raise ApiError(errors.WEAK_PASSWORD, reason="it is the account's name")
    return _strong(password, ACCOUNT_PASSWORD_LENGTH, _ACCOUNT_CHARACTERS)


def disabled_commands(renamed: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the commands that are disabled from now on, None if no change is requested. Raises ApiError DCS.4062.

    Rules on users can deny a command but give it no other name, so a new name is refused.
    """
    disabled = []
    for command, name in renamed.items():
        field = f"rename_commands.{command}"
        if command not in DISABLED_ON_REQUEST:
            raise refused(field, f"only {', '.join(DISABLED_ON_REQUEST)} can be disabled")
        if name == "":
            disabled.append(command)
        elif name != command:
            raise refused(field, "a command cannot have another name; an empty name disables it, its own name does not")
    return tuple(sorted(disabled)) if renamed else None


def _of_instance(password: str) -> str:
    return _strong(password, PASSWORD_LENGTH, _CHARACTERS)


def _strong(password: str, length: tuple[int, int], characters: re.Pattern[str]) -> str:
    shortest, longest = length
    if not shortest <= len(password) <= longest or not characters.fullmatch(password):
        raise ApiError(errors.WEAK_PASSWORD, reason=f"it is not {shortest} to {longest} of the allowed characters")
    if sum(bool(re.search(pattern, password)) for pattern in _CLASSES) < 3:
        raise ApiError(errors.WEAK_PASSWORD, reason="it has fewer than 3 of the 4 kinds of characters")
    return password
