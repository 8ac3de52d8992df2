"""Enforce recorded users on nodes: the password of the instance, its accounts and their rights.

A user that the record does not have is deleted: a node may have missed the deletion of an account.
"""

import logging
import time
from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from cachewright.model.instances import Instance, Node
from cachewright.operations.context import OperationContext
from cachewright.operations.users import USER_CHANGES
from cachewright.store import instances, tasks
from cachewright.threads import in_background
from cachewright.valkey.session import Session
from cachewright.valkey.users import User, changes, users_of

log = logging.getLogger(__name__)

_CHECK_SECONDS = 60.0
"""Between two comparisons of unchanged users of a node."""

_KINDS = tuple(operation.kind for operation in USER_CHANGES)


class UserState(msgspec.Struct):
    """Users of one node at their last comparison, None before the first, and its time, in monotonic seconds."""

    compared: tuple[User, ...] | None = None
    compared_at: float = 0.0


def recorded_users(connection: sa.Connection, recorded: Iterable[Instance]) -> Mapping[str, tuple[User, ...] | None]:
    """Return the users that nodes of each instance should have, by instance id; None while a task changes them."""
    changing = tasks.worked_on(connection, *_KINDS)
    return {instance.id: None if instance.id in changing else users_of(instance) for instance in recorded}


class UserEnforcement:
    def __init__(self, context: OperationContext) -> None:
        self._context = context

    async def compare(self, node: Node, users: tuple[User, ...], state: UserState, session: Session) -> None:
        """Make the users of the node equal to the record, if they may differ. Raises one of NODE_GONE or
        NodeRefused."""
        if state.compared == users and time.monotonic() - state.compared_at <= _CHECK_SECONDS:
            return
        if commands := changes(await session.ask("ACL", "LIST"), users):
            instance = await in_background(self._unchanged, node, users)
            if instance is None:
                return  # a task changes users or has just changed them: the next round compares again
            await self._context.host.write_files(node.id, await self._context.files(instance, node))
            for command in commands.values():
                await session.ask(*command)
            log.warning("node %s had other users than recorded; corrected: %s", node.id, sorted(commands))
        state.compared, state.compared_at = users, time.monotonic()

    def _unchanged(self, node: Node, users: tuple[User, ...]) -> Instance | None:
        """The node's instance, if it still has these users and no task changes them."""
        with self._context.database.read() as connection:
            instance = instances.find(connection, node.instance_id)
            changing = tasks.worked_on(connection, *_KINDS)
        if instance is None or instance.id in changing or users_of(instance) != users:
            return None
        return instance
