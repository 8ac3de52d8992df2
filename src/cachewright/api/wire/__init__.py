"""Exact JSON shapes, one module per family. Names and types are those of huaweicloudsdkdcs 3.1."""

from datetime import UTC, datetime


def iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else utc(milliseconds)


def utc(milliseconds: int) -> str:
    """`2020-06-17T07:38:42.503Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"
