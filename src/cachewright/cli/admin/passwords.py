"""Reading a new password: never from an argument, which everybody on the machine can see."""

import getpass
import sys


def new_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    chosen = getpass.getpass("New password: ")
    if getpass.getpass("Once more: ") != chosen:
        sys.exit("cachewright: the two are not the same")
    return chosen
