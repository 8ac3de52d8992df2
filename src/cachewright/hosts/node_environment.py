"""Environment variables of node processes."""

import os

_TUNABLES = "glibc.malloc.mxfast=0"
"""Without this, freed small chunks of memory wait in lists that glibc empties at once, in whichever thread next
allocates a large block. After a hash of millions of fields was freed in the background, that is the thread that serves
clients, and it stands still for half a second."""


def variables() -> dict[str, str]:
    """Return the whole environment of a node. The server's own environment may contain secrets and is not passed on."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "GLIBC_TUNABLES": _TUNABLES}
