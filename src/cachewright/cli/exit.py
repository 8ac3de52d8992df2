"""The end of the process without finalization of the interpreter."""

import atexit
import os
import sys

_FAILED = 1
"""Exit status after an unexpected exception, whose traceback was printed, and after an error of the output."""


class Exit:
    """Ends the process after all other exit handlers.

    Libraries in Rust (obstore, granian) have threads of their own that may still return a result to Python. If such a
    thread waits for the interpreter while it is finalized, Python 3.13 and older end the thread in a way that Rust
    answers with SIGABRT (PyO3/pyo3-async-runtimes#40): a command that has succeeded would end with status -6.
    """

    def __init__(self) -> None:
        """Register the handler. Handlers that are registered later run before it."""
        self.status = _FAILED
        atexit.register(self._end)

    def _end(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # the reader of a pipe has gone, or the stream is closed
                self.status = self.status or _FAILED
        os._exit(self.status)
