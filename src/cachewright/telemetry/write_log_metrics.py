"""Metrics of write logs."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from cachewright.model.write_logs import WriteLog, windows
from cachewright.telemetry.monitor_metrics import gauge
from cachewright.valkey.slots import SLOTS

_LABELS = ("instance_id",)


def of_write_logs(logs: Mapping[str, list[WriteLog]]) -> Iterator[Metric]:
    """Metrics of the instances whose owners want write logs, with their logs. Without data to restore the time is 0."""
    last = [((name,), own[-1].last if (own := windows(each, SLOTS)) else 0) for name, each in logs.items()]
    text = "Newest second whose data can be restored from the write logs of an instance."
    yield gauge("cachewright_write_log_last_timestamp_seconds", text, _LABELS, last)
    sizes = [((name,), sum(log.size for log in each)) for name, each in logs.items()]
    yield gauge("cachewright_write_log_size_bytes", "Size of the write logs in the storage.", _LABELS, sizes)
