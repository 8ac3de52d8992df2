"""Reads a new password. Arguments hold no passwords: all users of the host can see them."""

import getpass
import sys


def new_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    chosen = getpass.getpass("New password: ")
    if getpass.getpass("Repeat the password: ") != chosen:
        sys.exit("cachewright: passwords do not match")
    return chosen
