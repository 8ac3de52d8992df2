"""A backup of the data as it was at the end of a second in the past, made from write logs.

For each shard, a temporary node on a host of the instance loads the base of its log and the writes until that second,
and writes a snapshot. What follows is as in every backup, so the data can be restored into any instance.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.hosts import EMBEDDED
from cachewright.model.write_logs import WriteLog, chosen, windows
from cachewright.operations.actions.past_backup import (
    LogArguments,
    PastSnapshots,
    assemble_past_snapshots,
    fetch_write_log,
    replay_write_log,
)
from cachewright.store import write_logs
from cachewright.tasks.plan import effort
from cachewright.topologies.topology import Steps
from cachewright.valkey.slots import SLOTS

LOG_DOWNLOAD, REPLAY = "Write log download.", "Replay."

_FETCH_SECONDS_A_BYTE = 18e-9  # before the first one, as the other
_REPLAY_SECONDS, _REPLAY_SECONDS_A_BYTE = 0.5, 30e-9
_SECONDS = 0.1


def logs_at(connection: sa.Connection, instance_id: str, second: int) -> list[WriteLog]:
    """Return the logs that have the data of all shards at the end of a second. ApiError DCS.4062 if there are none."""
    logs = write_logs.of_instance(connection, instance_id)
    if found := chosen(logs, second, SLOTS):
        return found
    offered = ", ".join(f"{_shown(one.first)} to {_shown(one.last)}" for one in windows(logs, SLOTS)) or "none"
    reason = f"the data of {_shown(second)} is not in the write logs; they have: {offered}"
    raise ApiError(errors.INVALID_PARAMETER, parameter="moment", reason=reason)


def _shown(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def disk_bytes(logs: Sequence[WriteLog]) -> int:
    """Return the bytes of disk that the logs and the snapshots made from them take at most."""
    return 2 * sum(log.size for log in logs)


def steps(backup_id: str, logs: Sequence[WriteLog], moment: int, snapshot: str, host_name: str) -> Steps:
    """Return the steps until the snapshots are in the spool, or on a host. `snapshot` is the name of the last one.

    :param host_name: of the host of the temporary nodes.
    """
    is_here = host_name == EMBEDDED
    fetched, replayed = [], []
    for log in logs:
        arguments, size = LogArguments(backup_id, log.id, moment, None if is_here else host_name), max(log.size, 1)
        seconds = _REPLAY_SECONDS + size * _REPLAY_SECONDS_A_BYTE
        if is_here:
            fetch = effort("logs", unit="bytes", total=size, seconds=size * _FETCH_SECONDS_A_BYTE)
            fetched.append(fetch_write_log.sub_step(f"{LOG_DOWNLOAD} Shard {log.shard}", fetch, arguments))
        else:
            seconds += size * _FETCH_SECONDS_A_BYTE
        replay = effort("replay", unit="bytes", total=size, seconds=seconds, fixed=_REPLAY_SECONDS)
        replayed.append(replay_write_log.sub_step(f"{REPLAY} Shard {log.shard}", replay, arguments))
    last = assemble_past_snapshots.sub_step(
        "Snapshot of all shards.",
        effort("instance", seconds=_SECONDS),
        PastSnapshots(backup_id, tuple(log.id for log in logs), moment),
    )
    return {LOG_DOWNLOAD: fetched, REPLAY: replayed, snapshot: [last]}
