"""Metrics of the last good backup of each instance, and of what projects store."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from cachewright.model.backups import LastBackup
from cachewright.telemetry.monitor_metrics import gauge

_LABELS = ("instance_id",)


def of_backups(last: Sequence[LastBackup]) -> Iterator[Metric]:
    """Metrics of existing instances that have a good backup or a schedule."""
    good = [one for one in last if one.taken_at is not None]
    taken = [((one.instance_id,), (one.taken_at or 0) / 1000) for one in good]
    text = "Time of the data of the last good backup of an instance."
    yield gauge("cachewright_backup_last_timestamp_seconds", text, _LABELS, taken)
    expected = [
        ((one.instance_id,), (max(one.taken_at or 0, one.scheduled_at) + 1000 * one.longest_pause_seconds) / 1000)
        for one in last
        if one.longest_pause_seconds
    ]
    text = "Time by which the schedule of an instance makes its next backup at the latest."
    yield gauge("cachewright_backup_expected_timestamp_seconds", text, _LABELS, expected)
    sizes = [((one.instance_id,), one.size) for one in good]
    yield gauge("cachewright_backup_last_size_bytes", "Size of the last good backup.", _LABELS, sizes)
    durations = [((one.instance_id,), one.seconds) for one in good]
    text = "From the request for the last good backup to its end."
    yield gauge("cachewright_backup_last_duration_seconds", text, _LABELS, durations)


def of_storage(stored: Mapping[str, Mapping[str, int]], limit: int) -> Iterator[Metric]:
    """Metrics of the bytes of each kind that projects store, and of the limit of each project; 0 for no limit."""
    sizes = [((project, kind), size) for kind, by_project in stored.items() for project, size in by_project.items()]
    text = "Bytes of backups and of write logs in the storage."
    yield gauge("cachewright_stored_bytes", text, ("project_id", "kind"), sizes)
    text = "Bytes of backups and write logs that a project may store; 0 for no limit."
    yield gauge("cachewright_stored_bytes_limit", text, (), [((), limit)])
