"""Struct types are resolved once, before threads start: see `cachewright.structs`."""

import subprocess
import sys

_DECODE_ALL = """
import sys
import msgspec
import cachewright.cli.serve
from cachewright import structs

resolved = []

def see(frame, event, arg):
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        resolved.append(frame.f_locals["obj"])

kinds = list(structs.imported())
if {resolve}:
    structs.resolve()
sys.setprofile(see)
for kind in kinds:
    msgspec.json.Decoder(kind)
sys.setprofile(None)
print(len(kinds), len(resolved))
"""


def counts(*, resolve: bool) -> tuple[int, int]:
    """Number of structs, and of those whose types are resolved when all are decoded, in a separate process."""
    command = [sys.executable, "-c", _DECODE_ALL.format(resolve=resolve)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    kinds, resolved = ran.stdout.split()
    return int(kinds), int(resolved)


def test_no_thread_resolves_types_that_another_one_reads() -> None:
    kinds, resolved = counts(resolve=True)
    assert kinds > 100
    assert resolved == 0


def test_without_it_types_are_resolved_at_the_first_decoding() -> None:
    kinds, resolved = counts(resolve=False)
    assert resolved == kinds
