"""Values that DBOS has stored: errors are read as themselves, and nothing in them runs code."""

import asyncio
import os
import pickle
from base64 import b64encode
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from dbos._error import DBOSMaxStepRetriesExceeded, DBOSWorkflowCancelledError
from dbos._serialization import DefaultSerializer, deserialize_args, deserialize_exception, deserialize_value

from cachewright.errors import ApiError, DatabaseUnavailable, _refusal
from cachewright.store.tasks import StaleTask
from cachewright.store.workflow_values import UnknownError, read, restrict_dbos
from cachewright.tasks.operation import ActionFailed

FAILURE = ActionFailed("DCS.9004", "a node does not answer", True)


class Command:
    """Creates a folder when it is read with pickle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def stored(value: Any) -> str:
    return DefaultSerializer().serialize(value)


@pytest.mark.parametrize("value", [None, True, 3, 1.5, "text", {"args": ("id",), "kwargs": {}}, [1, {"a": b"b"}]])
def test_plain_values_are_read(value: Any) -> None:
    assert read(stored(value)) == value


@pytest.mark.parametrize(
    "error",
    [
        FAILURE,
        ApiError("DCS.4036", reason="no room"),
        DatabaseUnavailable("away"),
        StaleTask("t"),
        DBOSMaxStepRetriesExceeded("step", 3, [FAILURE]),
        ValueError("x"),
        TimeoutError(),
        DBOSWorkflowCancelledError("c"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_read_as_themselves(error: BaseException) -> None:
    found = read(stored(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    failure = found.errors[0] if isinstance(found, DBOSMaxStepRetriesExceeded) else found
    if isinstance(failure, ActionFailed):
        assert (failure.code, failure.message, failure.final) == (FAILURE.code, FAILURE.message, FAILURE.final)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_is_run(tmp_path: Path, protocol: int) -> None:
    folder = tmp_path / "made"
    value = b64encode(pickle.dumps(Command(folder), protocol)).decode()
    assert isinstance(read(value), UnknownError)
    restrict_dbos()
    for found in (
        deserialize_value(value, "py_pickle", DefaultSerializer()),
        deserialize_args(value, "py_pickle", DefaultSerializer()),
        deserialize_exception(value, None, DefaultSerializer()),
    ):
        assert isinstance(found, UnknownError)
    assert not folder.exists()


def test_a_stored_value_changes_no_function_of_the_process() -> None:
    before = _refusal.__defaults__, dict(vars(_refusal))
    setting = b"ccachewright.errors\n_refusal\n(N(V__defaults__\n(Vchanged\ntdtb."
    read(b64encode(setting).decode())
    assert (_refusal.__defaults__, vars(_refusal)) == before


@pytest.mark.parametrize("named", [SystemExit, asyncio.CancelledError, OrderedDict, eval, Path, os.mkdir], ids=str)
def test_other_names_stand_for_nothing(named: Any) -> None:
    assert read(stored(named)) is UnknownError


HUGE = {
    "index": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "index as text": b"Np99999999999\n.",
    "bytes that are missing": b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00x.",
    "array that is missing": b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00x.",
    "many objects": b"\x80\x04" + b"\x8f" * 1_000_000 + b".",
}


@pytest.mark.parametrize("value", HUGE)
def test_a_small_value_takes_no_large_memory(value: str) -> None:
    """Refused before the reader allocates what it announces: gigabytes."""
    with pytest.raises(pickle.UnpicklingError, match="a stored value"):
        read(b64encode(HUGE[value]).decode())
