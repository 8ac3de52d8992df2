"""The commands a person types.

What belongs here: reading arguments, starting things, printing. What does not: anything another program would want to
do as well; that goes over the public API.
"""

from cachewright.cli.commands import main

__all__ = ["main"]
