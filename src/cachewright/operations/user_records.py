"""The recorded password, accounts and disabled commands before and after a task that changes them. Pure."""

import msgspec

from cachewright.model import accounts
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task


class UserParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a task changes; the password of the instance if neither is given. What changes in an account, and
    passwords, are in the record of the instance.

    :ivar account_id: an account.
    :ivar disabled_commands: the commands that clients may not use.
    """

    account_id: str | None = None
    disabled_commands: tuple[str, ...] | None = None


def after_success(instance: Instance, task: Task) -> Instance | None:
    """Return the record with the change of this task. None if a later change has replaced it."""
    params = msgspec.convert(task.params, UserParams)
    if params.disabled_commands is not None:
        return msgspec.structs.replace(instance, disabled_commands=params.disabled_commands)
    if params.account_id is not None:
        changed = accounts.applied(instance.accounts, params.account_id, task.id)
        return None if changed is None else msgspec.structs.replace(instance, accounts=changed)
    pending = instance.pending_password
    if pending is None or pending.task_id != task.id:
        return None
    return msgspec.structs.replace(instance, password=pending.password, pending_password=None)


def after_failure(instance: Instance, task: Task) -> Instance:
    """Return the record after the failure of this task. What is pending stays for a retry."""
    params = msgspec.convert(task.params, UserParams)
    if params.account_id is None:
        return instance
    changed = accounts.failed(instance.accounts, params.account_id, task.id)
    return msgspec.structs.replace(instance, accounts=changed)
