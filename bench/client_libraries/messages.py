"""Messages between a driver and the process of one client library: lines of JSON on standard input and output.

The first line to the process is `ClientSpec`; it answers with an empty line once all its workers run. The second line
ends the traffic; the process reads back what it wrote, and answers with `ClientReport`.
"""

import msgspec


class ClientSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic of one library. The password is not an argument, because all users of a host can see arguments.

    :ivar rate: requests a second, half of them writes.
    :ivar workers: callers that share the client; each waits for a reply before it sends its next request.
    :ivar keys: keys of each worker; no other worker writes them.
    :ivar name: begin of its keys, for a second client of a library in a cache. The name of the library by default.
    """

    library: str
    name: str = ""
    host: str
    port: int
    password: str | None
    rate: int = 300
    workers: int = 16
    keys: int = 60


class ClientError(msgspec.Struct, frozen=True, kw_only=True):
    """A request that ended with an error after the library's own retries. `begun` and `at` are epoch seconds."""

    begun: float
    at: float
    command: str
    kind: str
    message: str


class ClientReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one process.

    :ivar begun: start of each request, epoch seconds.
    :ivar took: duration of each request, seconds.
    :ivar writes: whether each request was a write.
    :ivar acknowledged: number of acknowledged writes.
    :ivar lost: descriptions of replies that contradict an acknowledged write, during the traffic and afterwards.
    """

    library: str
    version: str
    begun: list[float]
    took: list[float]
    writes: list[bool]
    errors: list[ClientError]
    acknowledged: int
    read_back: int
    lost: list[str]
