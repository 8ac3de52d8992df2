"""How many requests there may be of one credential, on a clock of the test's own."""

import pytest
from limits import RateLimitItemPerMinute

from cachewright.api.auth.limits import RateLimit
from cachewright.errors import Refusal


class Hands:
    now = 600.0

    def __call__(self) -> float:
        return self.now


def refused(rate: RateLimit, credential: str = "key a") -> int:
    """How many seconds it is told to wait."""
    with pytest.raises(Refusal, match=r"DCS\.4962") as refusal:
        rate.count(credential)
    return int(refusal.value.fields["retry_after"])


def test_a_window_slides() -> None:
    hands = Hands()
    rate = RateLimit(RateLimitItemPerMinute(4), hands)
    for _ in range(4):
        rate.count("key a")
    assert refused(rate) == 60
    hands.now += 45
    assert refused(rate) == 15
    hands.now += 30  # a quarter into the next window, so three quarters of the last one count
    rate.count("key a")
    assert refused(rate) == 1
    hands.now += 15
    rate.count("key a")
    assert refused(rate) == 1
    hands.now += 1
    rate.count("key a")


def test_who_waits_as_long_as_he_is_told_is_served() -> None:
    hands = Hands()
    rate = RateLimit(RateLimitItemPerMinute(7), hands)
    for _ in range(200):
        hands.now += 1
        try:
            rate.count("key a")
        except Refusal as refusal:
            hands.now += int(refusal.fields["retry_after"])
            rate.count("key a")


def test_a_long_pause_forgets_everything() -> None:
    hands = Hands()
    rate = RateLimit(RateLimitItemPerMinute(2), hands)
    for _ in range(3):
        for _ in range(2):
            rate.count("key a")
        refused(rate)
        hands.now += 120


def test_credentials_are_counted_apart() -> None:
    rate = RateLimit(RateLimitItemPerMinute(1), Hands())
    rate.count("key a")
    rate.count("key b")
    refused(rate, "key a")
    refused(rate, "key b")
