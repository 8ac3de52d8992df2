"""Why a command does not succeed, in words for the person who typed it, and the exit code that says so to a script."""


class CommandFailed(Exception):
    """A task has failed, or what is asked for is not there."""

    exit_code = 1


class RequestRefused(CommandFailed):
    """The server says no."""

    exit_code = 3

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{code or status}: {message} (request {request_id})")


class Unreachable(CommandFailed):
    """There is no answer, or none that a server of this API would give."""

    exit_code = 4


class UsageError(CommandFailed):
    """Options that do not fit together, or name what cannot be."""

    exit_code = 2


class NoAccount(CommandFailed):
    """It is not known which server to ask, or as whom."""

    exit_code = 2
