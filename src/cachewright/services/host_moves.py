"""Moves of nodes between hosts: those that hosts need, and those that the owner of an instance requests."""

import itertools
import logging
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.logs import RARELY
from cachewright.model.hosts import HostState
from cachewright.model.identity import Principal
from cachewright.model.tasks import Task
from cachewright.operations.move_nodes import LOST_CAUSES, MOVE_NODES
from cachewright.operations.requests import MoveCause, MoveRequest, NodeMove
from cachewright.placement.hosts import misplaced
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import hosts, instances, task_controls, tasks
from cachewright.tasks.operation import CANCELLED

log = logging.getLogger(__name__)

_SYSTEM = "system"
_MOST_TASKS = 4
"""Maximum number of tasks for drains at one time, and of those for lost hosts. Each copies data between hosts."""

_RECENT = 20
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 60_000, 3_600_000
"""Pauses after moves of an instance that failed: each is twice as long as the one before."""


class HostMoves(msgspec.Struct, frozen=True):
    tasks: TaskService

    def start(self, instance_id: str, request: MoveRequest) -> None:
        """Start a move that a host needs, unless a task of the instance is unfinished, as many moves run as may, or one
        of this instance has just failed."""
        with self.tasks.context.database.read() as connection:
            instance = instances.find(connection, instance_id)
            if instance is None or tasks.active_of(connection, instance_id):
                return
            if running_moves(connection, request.cause) >= _MOST_TASKS:
                log.info("moves of nodes wait, because %d run: %s", _MOST_TASKS, request.cause, extra=RARELY)
                return
            _, earlier = tasks.of_kind(connection, instance_id, MOVE_NODES.kind, offset=0, limit=_RECENT)
        if must_pause(earlier, request.cause, now_ms()):
            return
        principal = Principal(project_id=instance.project_id, user_id="", user_name=_SYSTEM)
        try:
            self.tasks.submit(MOVE_NODES, principal, instance_id, request)
        except ApiError as refusal:
            log.warning("nodes of instance %s are not moved: %s", instance_id, refusal, extra=RARELY)
        else:
            log.warning(
                "%d nodes of instance %s move to other hosts: %s", len(request.moves), instance_id, request.cause
            )

    def end_obsolete(self, states: Mapping[str, HostState]) -> None:
        """Cancel moves away from hosts that are not drained or given up any more, and those that wait until a cluster
        agrees that a host is lost which was given up since. `states` are those of all hosts."""
        with self.tasks.context.database.read() as connection:
            moving = tasks.active_of_kind(connection, MOVE_NODES.kind)
            obsolete = [task for task in moving if is_obsolete(connection, task, states)]
        for task in obsolete:
            self._cancel(task)

    def migrate(self, principal: Principal, instance_id: str, zones: Sequence[str]) -> Task | None:
        """Move an instance to these zones. Return the task; None if all its nodes are there. Raises ApiError DCS.3022,
        of `MOVE_NODES.validate` or busy."""
        with self.tasks.context.database.read() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            zone_of = {host.name: host.zone for host in hosts.without_reports(connection)}
            nodes = instances.nodes_of(connection, instance_id)
        moved = misplaced(nodes, zone_of, zones)
        if not moved and set(zones) == set(instance.attributes.get("az_codes", zones)):
            return None
        moves = tuple(NodeMove(node.id) for node in moved)
        request = MoveRequest(cause="zones", moves=moves, zones=tuple(dict.fromkeys(zones)))
        return self.tasks.submit(MOVE_NODES, principal, instance_id, request)

    def _cancel(self, task: Task) -> None:
        owner = Principal(project_id=task.project_id, user_id="", user_name=_SYSTEM)
        try:
            self.tasks.cancel(owner, task.instance_id, task.id)
        except ApiError as ended:
            log.debug("task %s is not cancelled: %s", task.id, ended)


def running_moves(connection: sa.Connection, cause: MoveCause) -> int:
    """Return how many moves that hosts need run: those from lost hosts, or others, as `cause` is. Tasks that are paused
    do not count, because projects may pause theirs for ever."""
    alike = LOST_CAUSES if cause in LOST_CAUSES else {cause}
    return sum(
        MOVE_NODES.params_of(task).cause in alike and task_controls.get(connection, task.id).state != "paused"
        for task in tasks.active_of_kind(connection, MOVE_NODES.kind)
    )


def must_pause(earlier: Sequence[Task], cause: MoveCause, now: int) -> bool:
    """Return whether the next move for this cause must wait. `earlier` are moves of the instance, the latest first."""
    same = [task for task in earlier if MOVE_NODES.params_of(task).cause == cause]
    failed = list(itertools.takewhile(lambda task: task.status == "FAILED" and task.error_code != CANCELLED, same))
    if not failed:
        return False
    pause: int = min(_FIRST_PAUSE_MS * 2 ** (len(failed) - 1), _LONGEST_PAUSE_MS)
    return now < (failed[0].end_time or 0) + pause


def is_obsolete(connection: sa.Connection, task: Task, states: Mapping[str, HostState]) -> bool:
    """Whether another state of the hosts is the cause of a task than now."""
    params = MOVE_NODES.params_of(task)
    if params.cause not in ("drain", *LOST_CAUSES):
        return False
    nodes = instances.nodes_of(connection, task.instance_id)
    found = {states.get(node.host_name) for node in nodes if node.id in params.node_ids}
    if params.cause == "silent_host":
        return "lost" in found
    return bool(found) and ("draining" if params.cause == "drain" else "lost") not in found
