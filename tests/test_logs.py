"""Limits of log lines that unauthenticated callers can cause."""

from cachewright.logs import LineLimit


def test_lines_of_one_key_and_of_all_are_limited_and_what_was_left_out_is_told() -> None:
    now = 0.0
    limit = LineLimit(of_one_key=2, of_all=3, clock=lambda: now)
    assert [limit.note(key) for key in ("a", "a", "a", "b", "c")] == [
        "",
        "",
        None,
        " (1 lines like this were left out)",
        None,
    ]
    now = 60.0
    assert limit.note("a") == " (1 lines like this were left out)"
    assert limit.note("a") == ""
