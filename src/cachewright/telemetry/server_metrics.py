"""Metrics of the servers on the database, the same from each of them."""

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client.core import Metric

from cachewright.model.servers import TakeoverCause
from cachewright.services.servers import ServerOverview
from cachewright.telemetry.monitor_metrics import gauge


def of_servers(found: ServerOverview, taken: Mapping[TakeoverCause, int]) -> Iterator[Metric]:
    """:param taken: time of the latest takeover of each cause, epoch milliseconds."""
    text = "Time for which a server has not reported; 0 while it reports."
    labels = ("server", "machine")
    silent = (
        ((details.record.id, details.record.machine), details.seen_seconds if details.is_silent else 0.0)
        for details in found.servers
    )
    yield gauge("cachewright_server_silent_seconds", text, labels, silent)
    text = "Epoch of the claim to perform tasks; it increases when a server takes the claim. 0 on SQLite."
    yield gauge("cachewright_claim_epoch", text, (), [((), found.epoch)])
    # A time of 0 is exported as well: an alert on a missing series would stay silent.
    text = "Time of the latest takeover of the claim to perform tasks, by its cause; 0 if there was none."
    times = (((cause,), taken.get(cause, 0) / 1000) for cause in get_args(TakeoverCause))
    yield gauge("cachewright_takeover_timestamp_seconds", text, ("cause",), times)
