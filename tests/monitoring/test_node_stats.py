"""The hour that is kept of an instance's numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.monitoring.inspection import read_node_info
from cachewright.monitoring.node_stats import MEASURE_SECONDS, InstanceSample, SampleHistory, read_stats, total
from standalone_node import node_at

HOUR = int(3600 / MEASURE_SECONDS)
BIG = st.integers(0, 2**62)
SMALL = st.integers(0, 2**32 - 1)
RATE = st.integers(0, 100_000).map(lambda hundredths: hundredths / 100)


@given(st.lists(st.builds(InstanceSample, at=BIG, used_memory=BIG, keys=BIG, ops_per_second=SMALL, clients=SMALL,
                          input_kbps=RATE, output_kbps=RATE), max_size=5))  # fmt: skip
def test_what_is_kept_is_told_as_it_was(samples: list[InstanceSample]) -> None:
    history = SampleHistory()
    for sample in samples:
        history.append(sample)
    assert list(history) == samples
    assert history.last == (samples[-1] if samples else None)


def test_an_hour_is_kept() -> None:
    history = SampleHistory()
    for at in range(HOUR + 3):
        numbers = {"keys": 1, "ops_per_second": 1, "clients": 1, "input_kbps": 0.5, "output_kbps": 1.25}
        history.append(InstanceSample(at=at, used_memory=at, **numbers))
    assert [sample.at for sample in history] == list(range(3, HOUR + 3))


SAID = {
    "role": "master",
    "used_memory": "100",
    "db0": "keys=3,expires=0,avg_ttl=0",
    "instantaneous_ops_per_sec": "5",
    "connected_clients": "2",
    "instantaneous_input_kbps": "0.25",
    "instantaneous_output_kbps": "1.5",
    "used_cpu_sys": "1.5",
    "used_cpu_user": "0.5",
    "uptime_in_seconds": "10",
    "cmdstat_get": "calls=7,usec=9,usec_per_call=1.29",
}


def test_what_a_node_says_is_read() -> None:
    vital = read_stats(node_at(1), SAID)
    assert vital is not None
    assert (vital.used_memory, vital.keys, vital.clients, vital.output_kbps) == (100, 3, 2, 1.5)
    seen = read_node_info(node_at(1), SAID)
    assert (seen.role, seen.keys["keys"], seen.calls("get"), seen.calls("set")) == ("primary", 3, 7, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "king"},
        {"role": None},
        {"used_memory": "much"},
        {"used_memory": "-1"},
        {"used_memory": "9" * 30},
        {"used_memory": "9" * 5000},
        {"instantaneous_input_kbps": "nan"},
        {"instantaneous_output_kbps": "inf"},
        {"instantaneous_ops_per_sec": None},
    ],
)
def test_what_no_node_says_is_no_answer(changed: dict[str, Any]) -> None:
    """None stands for a field that is left out."""
    said = {name: value for name, value in (SAID | changed).items() if value is not None}
    assert read_stats(node_at(1), said) is None


@pytest.mark.parametrize("changed", [{"role": "king"}, {"used_memory": "much"}, {"used_cpu_sys": "nan"}, {"role": ""}])
def test_such_a_node_is_not_shown_as_active(changed: dict[str, str]) -> None:
    assert read_node_info(node_at(1), SAID | changed).fields is None
    assert (
        read_node_info(node_at(1), {name: value for name, value in SAID.items() if name not in changed}).fields is None
    )


def test_the_largest_numbers_of_many_nodes_are_kept() -> None:
    most = SAID | {"used_memory": str(2**50), "connected_clients": str(2**32 - 1)}
    vital = read_stats(node_at(1), most)
    assert vital is not None
    sample = total([(node_at(1), vital)] * 1000, 1)
    assert sample is not None
    history = SampleHistory()
    history.append(sample)
    assert history.last == sample
