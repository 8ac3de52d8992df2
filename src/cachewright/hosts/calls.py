"""Calls of methods of `Host` on another machine: what they contain, and how the agent there performs them."""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_type_hints

import msgspec

from cachewright.errors import CachewrightError
from cachewright.hosts.host import Host, NodeStartFailed
from cachewright.hosts.ports import NoFreePort
from cachewright.threads import in_background

WORKFLOW = "perform_call"
"""Name of DBOS's workflow that performs a call. Stored with each call."""

ProcessKind = Literal["nodes", "sentinels"]
"""Kinds of processes of a host that an agent starts and stops."""

CHANGING = frozenset(
    {
        *("write_files", "start", "restart", "stop", "remove", "set_aside", "end_child"),
        *("create_folder", "exchange_folder", "bring_back_folder", "delete_folder"),
        *("begin_job", "perform_job", "steer_job", "release_job", "end_job"),
    }
)
METHODS = CHANGING | {
    *("process", "is_running", "is_busy", "has_file", "read_file", "read_log", "children", "job_state"),
    *("find_ports", "is_port_free"),
}
FENCED = METHODS - {"find_ports", "is_port_free"}
"""Methods that are performed only for nodes and sentinels that are recorded on the host: an old call must not start one
that runs elsewhere now, and no call reaches other folders."""

OF_SENTINELS = frozenset(
    {"process", "is_running", "is_busy", "has_file", "read_file", "write_files", "start", "stop", "remove"}
)
"""Methods that are performed for sentinels, too."""

MOST_ANSWER_BYTES = 2 * 2**20
"""Limit of an answer. The longest are configuration files and parts of logs, of some 100 KB. In the schema of an agent
the database refuses more; see `store.agent_access`."""

_RAISED: dict[str, type[Exception]] = {
    error.__name__: error for error in (NodeStartFailed, NoFreePort, TimeoutError, OSError)
}


class HostSilent(CachewrightError):
    """The agent of a host does not report, does not answer in time, or refuses a call."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a method.

    :ivar arguments: by name.
    :ivar kind: of the process that it concerns.
    :ivar expires_at: time after which the caller no longer waits for the answer, seconds since the epoch. The call is
        not performed then.
    :ivar epoch: epoch of the server with the claim to perform tasks, of which the call is; None if another server makes
        it for a request. That may read only.
    """

    method: str
    arguments: dict[str, Any]
    expires_at: float
    epoch: int | None = None
    kind: ProcessKind = "nodes"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a call, or the name and the text of an error that it has raised."""

    result: Any = None
    error: str | None = None
    text: str = ""

    def value(self, kind: Any) -> Any:
        """Return the result, of this type. Raises the error."""
        if self.error is None:
            return msgspec.convert(self.result, kind)
        raise _RAISED.get(self.error, HostSilent)(self.text)


def encode_answer(call: Call, answer: Answer) -> bytes:
    """Return an answer as it is sent; a refusal instead of one that is too large."""
    encoded = msgspec.json.encode(answer)
    if len(encoded) <= MOST_ANSWER_BYTES:
        return encoded
    text = f"the answer to {call.method!r} has {len(encoded)} bytes, more than {MOST_ANSWER_BYTES}"
    return msgspec.json.encode(Answer(error="HostSilent", text=text))


def decode_answer(encoded: bytes) -> Answer:
    """Return an answer. Raises HostSilent if it is too large: decoded, it takes several times its size in memory."""
    if len(encoded) > MOST_ANSWER_BYTES:
        raise HostSilent(f"an agent has sent an answer of {len(encoded)} bytes, more than {MOST_ANSWER_BYTES}")
    return msgspec.json.decode(encoded, type=Answer)


def queue_of(host_name: str) -> str:
    """Return the name of DBOS's queue of a host."""
    return f"host {host_name}"


async def perform(
    host: Host, call: Call, is_recorded: Callable[[ProcessKind, str], bool], current_epoch: Callable[[], int]
) -> Answer:
    """Perform a call on this machine.

    :param is_recorded: tells whether a node or a sentinel is recorded on this host; it blocks.
    :param current_epoch: returns the epoch of the claim to perform tasks; it blocks.
    """
    if reason := await in_background(_refusal, call, is_recorded, current_epoch):
        return Answer(error="HostSilent", text=reason)
    method = getattr(host.sentinels if call.kind == "sentinels" else host, call.method)
    hints = get_type_hints(method)
    if unknown := call.arguments.keys() - hints.keys():
        text = f"the agent has no argument {min(unknown)!r} of {call.method!r}; upgrade it"
        return Answer(error="HostSilent", text=text)
    arguments = {name: msgspec.convert(value, hints[name]) for name, value in call.arguments.items()}
    try:
        if inspect.iscoroutinefunction(method):
            return Answer(result=await method(**arguments))
        return Answer(result=await in_background(method, **arguments))
    except (NodeStartFailed, NoFreePort, TimeoutError, OSError) as error:
        kind = next(kind for kind, raised in _RAISED.items() if isinstance(error, raised))
        return Answer(error=kind, text=str(error))


def _refusal(
    call: Call, is_recorded: Callable[[ProcessKind, str], bool], current_epoch: Callable[[], int]
) -> str | None:
    """Return why a call must not be performed; None if it may."""
    if call.method not in (OF_SENTINELS if call.kind == "sentinels" else METHODS):
        return f"the agent has no method {call.method!r}; upgrade it"
    if time.time() > call.expires_at:
        return "the call has expired, or the clocks of the machines differ"
    if call.method in CHANGING and (call.epoch is None or call.epoch < current_epoch()):
        return "the server that made the call was replaced, or does not perform tasks"
    name = str(call.arguments.get("name", call.arguments.get("node_id")))
    if call.method in FENCED and not is_recorded(call.kind, name):
        return f"{call.kind.removesuffix('s')} {name} is not recorded on this host"
    if any("/" in name or name in {".", ".."} for name in _names(call.arguments)):
        return "a file of a node is not in its folder"
    return None


def _names(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of files and folders of a node in arguments."""
    yield from (arguments[name] for name in ("file", "folder", "new", "former") if name in arguments)
    yield from arguments.get("files", ())
    yield from (value for name, value in arguments.get("job", {}).items() if name == "folder")
