"""Why a copy of keys is interrupted."""

from cachewright.errors import CachewrightError


class StreamInterrupted(CachewrightError):
    """The gateway does not answer. Changes may be missing, so that all keys are copied again."""
