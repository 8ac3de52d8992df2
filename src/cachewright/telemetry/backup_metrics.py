"""Metrics of the last good backup of each instance."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from cachewright.model.backups import LastBackup
from cachewright.telemetry.monitor_metrics import gauge

_LABELS = ("instance_id",)


def of_backups(last: Sequence[LastBackup]) -> Iterator[Metric]:
    """Metrics of existing instances. An instance without a good backup has none, unless its policy demands them: then
    the time is 0, so that an alert on the age notices it."""
    taken = [((one.instance_id,), (one.taken_at or 0) / 1000) for one in last]
    text = "Time of the data of the last good backup of an instance; 0 without one, if it has a schedule."
    yield gauge("cachewright_backup_last_timestamp_seconds", text, _LABELS, taken)
    good = [one for one in last if one.taken_at is not None]
    sizes = [((one.instance_id,), one.size) for one in good]
    yield gauge("cachewright_backup_last_size_bytes", "Size of the last good backup.", _LABELS, sizes)
    durations = [((one.instance_id,), one.seconds) for one in good]
    text = "From the request for the last good backup to its end."
    yield gauge("cachewright_backup_last_duration_seconds", text, _LABELS, durations)
    scheduled = [((one.instance_id,), one.longest_pause_seconds) for one in last if one.longest_pause_seconds]
    text = "Longest time between two backups by the schedule of an instance."
    yield gauge("cachewright_backup_schedule_seconds", text, _LABELS, scheduled)
