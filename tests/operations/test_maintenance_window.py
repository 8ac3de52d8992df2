"""Maintenance windows: when they are open, and when they begin next."""

from hypothesis import given
from hypothesis import strategies as st

from cachewright.operations.maintenance_window import MaintenanceWindow, window_of
from database_fixtures import an_instance

HOUR = 3600 * 1000
hours = st.integers(0, 23)
moments = st.integers(0, 10**13)


def test_a_window_is_open_from_its_first_to_its_last_hour_also_over_midnight() -> None:
    window = window_of(an_instance(attributes={"maintain_begin": "22:00:00", "maintain_end": "02:00"}))
    assert [hour for hour in range(24) if window.contains(hour * HOUR)] == [0, 1, 22, 23]
    assert not window.contains(2 * HOUR)
    assert window.contains(2 * HOUR - 1)
    assert window.next_begin(3 * HOUR) == 22 * HOUR
    assert window.next_begin(23 * HOUR) == 46 * HOUR
    assert window_of(an_instance()) == MaintenanceWindow(2, 6)


@given(hours, hours, moments)
def test_the_next_begin_is_the_first_moment_of_the_window(begin: int, end: int, now: int) -> None:
    window = MaintenanceWindow(begin, end)
    begins = window.next_begin(now)
    assert now <= begins < now + 24 * HOUR
    if begin != end:
        assert window.contains(begins)
        assert not window.contains(begins - 1)
