"""Garbage collection of commands.

Imports leave hardly any garbage, but collections look again and again at what they have allocated: without them, a
server starts with a fifth less processor time.
"""

import gc

_USUAL = gc.get_threshold()
_IMPORTED = 1_000_000
"""More than the modules of the server allocate."""


def collect_rarely() -> None:
    """Collect no garbage while modules are imported, and hardly any in a command that ends soon."""
    gc.set_threshold(_IMPORTED)


def collect_as_usual() -> None:
    """Collect garbage as Python does by default, for a command that runs for long. What has been allocated until now,
    such as modules and routes, stays until the end, so collections do not look at it."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
