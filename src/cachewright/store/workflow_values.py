"""Values that DBOS has stored, read without running code.

DBOS stores arguments, results and errors of workflows with pickle, which can name any function to call. So a program
that may write DBOS's tables, such as an agent, could run code in every process that reads them. Cachewright stores only
texts, numbers and errors. Here a name in a stored value means a class of errors that is loaded already, and otherwise
`UnknownError`.

The format itself stays: tasks of earlier releases continue, and earlier releases read new tasks. DBOS reads it with a
serializer of its own, also if the application has another one. That serializer is not part of DBOS's public API.
"""

import base64
import io
import pickle
import pickletools
import sys
from typing import Any

from dbos._serialization import DefaultSerializer

from cachewright.errors import ApiError

_DBOS = "dbos._error"
_ERRORS_OF = ("builtins", "asyncio.exceptions", _DBOS, "cachewright.")
"""Modules, or the beginnings of their names, whose errors are read as themselves."""

_REFUSAL = ("cachewright.errors", "_refusal")
"""The function by which a refusal is read back."""


_MOST_OPERATIONS = 100_000
_MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
"""Operations that store an object at an index. The reader allocates memory up to the highest index."""


class UnknownError(Exception):
    """Stands for everything that may not be read."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _REFUSAL:
            return lambda code, fields: ApiError(code, **fields)  # a new function: a stored value may set attributes
        found = getattr(sys.modules.get(module), name, None) if module.startswith(_ERRORS_OF) else None
        kind = BaseException if module == _DBOS else Exception  # nothing stored may end a loop as a cancellation does
        is_error = isinstance(found, type) and issubclass(found, kind) and found.__module__ == module
        return found if is_error else UnknownError


def read(stored: str) -> Any:
    """Return a value that DBOS has stored. Raises pickle.UnpicklingError if it is not one, or would take far more
    memory than its own size."""
    raw = base64.b64decode(stored)
    _require_small(raw)
    return _Reader(io.BytesIO(raw)).load()  # `find_class` permits errors alone


def _require_small(raw: bytes) -> None:
    """Raise pickle.UnpicklingError for a value with many objects, a high index, or less content than it announces: the
    reader allocates memory for these."""
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(raw)):
            if number > _MOST_OPERATIONS or (
                operation.name in _MEMO and isinstance(argument, int) and argument > len(raw)
            ):
                raise pickle.UnpicklingError("a stored value takes too much memory")
    except ValueError as error:
        raise pickle.UnpicklingError(f"a stored value is damaged: {error}") from error


def restrict_dbos() -> None:
    """Make DBOS read stored values by `read`, in this process."""

    def deserialize(_: DefaultSerializer, stored: str) -> Any:
        return read(stored)

    DefaultSerializer.deserialize = deserialize  # type: ignore[assignment,method-assign]  # DBOS has no option
