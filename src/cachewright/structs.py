"""Types of structs, resolved before threads decode into them.

msgspec resolves the field types of a struct when it is first decoded, in place and without a lock. A second thread that
decodes the same struct meanwhile reads types that are not there yet, and the process ends with a segmentation fault
(seen with msgspec 0.22.0 and CPython 3.11).
"""

from collections.abc import Iterator

import msgspec

_OURS = "cachewright."


def resolve() -> None:
    """Resolve the field types of every struct of this package that is imported. The caller must start no thread before
    that decodes structs."""
    for struct in imported():
        msgspec.json.Decoder(struct)


def imported(of: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    """Structs of this package below `of`."""
    for struct in of.__subclasses__():
        if struct.__module__.startswith(_OURS):
            yield struct
        yield from imported(struct)
