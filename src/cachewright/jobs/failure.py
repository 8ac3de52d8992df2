"""Why a job has ended, with a row of the error table."""

from cachewright.errors import CachewrightError


class JobFailed(CachewrightError):
    """A job cannot be finished, on whichever machine it runs.

    :ivar code: row of the error table.
    :ivar final: no further attempt can help.
    """

    def __init__(self, code: str, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.final = final
