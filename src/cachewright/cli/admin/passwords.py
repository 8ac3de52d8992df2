"""Reads secrets. Arguments hold no passwords: all users of the host can see them."""

import getpass
import sys
import warnings

from cachewright.client.errors import UsageError


def new_password(from_stdin: bool) -> str:
    """Read a new password, on a terminal twice. Raises UsageError if there is none."""
    if from_stdin:
        return from_first_line()
    chosen = hidden("New password: ")
    if hidden("Repeat the password: ") != chosen:
        sys.exit("cachewright: passwords do not match")
    return chosen


def from_first_line() -> str:
    """Read a secret from the first line of standard input."""
    return sys.stdin.readline().rstrip("\n")


def hidden(prompt: str) -> str:
    """Read a secret without showing it. Raises UsageError without a terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except getpass.GetPassWarning as visible:
            raise UsageError("no terminal to read a secret from; see the options for standard input") from visible
