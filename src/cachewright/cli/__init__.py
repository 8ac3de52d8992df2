"""The command line: reads arguments, starts servers and prints results.

Functions that other programs need belong in the public API.
"""

from cachewright.cli.commands import main

__all__ = ["main"]
