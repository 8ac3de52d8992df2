"""Files that are imported, before their content is read."""

import pytest

from cachewright import errors
from cachewright.operations.online_migrations.imports import unsuitable
from cachewright.valkey.sources import gateway
from cachewright.valkey.sources.files import parse_file_url, require_readable, without_query
from cachewright.valkey.sources.source import SourceUnusable


@pytest.mark.parametrize("url", ["https://bucket.example.com/dump.rdb?sign=a%2Fb", "http://[fd00::7]:8080/a"])
def test_urls_of_files(url: str) -> None:
    assert parse_file_url(url) == url
    assert "?" not in without_query(url)


@pytest.mark.parametrize(
    "text",
    [
        "dump.rdb", "ftp://host/dump.rdb", "file:///etc/passwd", "https:///dump.rdb", "https://host:99999/a",
        "https://user:secret@host/dump.rdb", "https://host/a b", "https://host/a#part", "https://[fd00::7/a",
    ],
)  # fmt: skip
def test_other_texts_are_no_urls_of_files(text: str) -> None:
    with pytest.raises(SourceUnusable) as refused:
        parse_file_url(text)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("begin", [b"REDIS0009\xfa", b"REDIS0011", b"VALKEY080\x00"])
def test_files_that_may_be_readable(begin: bytes) -> None:
    require_readable(begin, "dump.rdb")


@pytest.mark.parametrize(
    "begin", [b"", b"REDIS", b"REDISabcd", b"<html>\n<head>", b"REDIS0012\xfa", b"\x1f\x8b\x08gzip"]
)
def test_files_that_are_not_readable(begin: bytes) -> None:
    with pytest.raises(SourceUnusable) as refused:
        require_readable(begin, "dump.rdb")
    assert not refused.value.passes


def test_files_need_room_in_the_instance_and_on_the_disk() -> None:
    assert unsuitable([10, 20], room=30, disk_free=30) is None
    for room, disk_free, code in ((29, 100, errors.MIGRATION_OUT_OF_MEMORY), (100, 29, errors.NOT_ENOUGH_DISK)):
        failure = unsuitable([10, 20], room, disk_free)
        assert failure is not None
        assert (failure.code, failure.final) == (code, True)


def test_why_a_file_was_not_loaded() -> None:
    log = (
        "1:M 26 Nov 2026 19:00:00.000 * Loading RDB produced by Redis version 7.0.15\n"
        "1:M 26 Nov 2026 19:00:00.001 # Short read or OOM loading DB. Unrecoverable error, aborting now.\n"
        "1:M 26 Nov 2026 19:00:00.002 # Fatal error loading the DB, check server logs. Exiting.\n"
    )
    assert gateway.load_failure(log) == "Short read or OOM loading DB. Unrecoverable error, aborting now."
    assert gateway.load_failure("1:M 26 Nov 2026 19:00:00.000 * Done\n") is None
