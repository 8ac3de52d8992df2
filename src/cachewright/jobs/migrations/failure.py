"""Why a part of a migration has ended."""

from cachewright.errors import CachewrightError


class CopyFailed(CachewrightError):
    """A part of a migration cannot be finished.

    :ivar code: row of the error table.
    :ivar final: no further attempt can help.
    """

    def __init__(self, code: str, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final


class StreamInterrupted(CachewrightError):
    """The gateway does not answer. Changes may be missing, so that all keys are copied again."""
