"""Errors of commands: a message for the user, and an exit code for scripts."""


class CommandFailed(Exception):
    """A task failed, or an object does not exist."""

    exit_code = 1


class RequestRefused(CommandFailed):
    """The server rejected the request."""

    exit_code = 3

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{code or status}: {message} (request {request_id})")


class Unreachable(CommandFailed):
    """No response, or not the response of a Cachewright server."""

    exit_code = 4


class UsageError(CommandFailed):
    """Options that contradict each other or are not valid."""

    exit_code = 2


class NoAccount(CommandFailed):
    """No server or credentials are configured."""

    exit_code = 2
