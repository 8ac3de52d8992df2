"""Exact JSON shapes, one module per family. Names and types are those of huaweicloudsdkdcs 3.1."""

from cachewright.clock import rfc3339

__all__ = ["iso", "rfc3339"]


def iso(milliseconds: int | None) -> str | None:
    """Return epoch milliseconds as `2020-06-17T07:38:42.503Z`."""
    return None if milliseconds is None else rfc3339(milliseconds)
