"""Settings that are parsed from text."""

import pytest

from cachewright.config import Listen, parse_public_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://caches.example.com", "https://caches.example.com"),
        ("http://10.0.0.1:8765/", "http://10.0.0.1:8765"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_public_url_is_kept_without_its_last_slash(text: str, url: str) -> None:
    assert parse_public_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "caches.example.com",
        "ftp://a",
        "https://",
        "https:///a",
        "https://a/b",
        "https://a/?b",
        "https://a/#b",
        "https://u@a",
        "https://u:p@a",
        "https://a:0",
        "https://a:x",
        "https://a:99999",
        "https://a b",
        "https://a\n",
        "https://b\u00fc.c",
    ],
)
def test_what_is_no_public_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a URL such as"):
        parse_public_url(text)


def test_an_address_is_read_as_it_was_written() -> None:
    for text in ("127.0.0.1:8765", "[::1]:80", "localhost:0"):
        assert Listen.parse(text).address == text
