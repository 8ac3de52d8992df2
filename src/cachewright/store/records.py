"""Records as they are stored. Times are UTC epoch milliseconds, sizes are bytes unless the name says otherwise."""

from typing import Any, Literal

import msgspec

StepStatus = Literal["WAITING", "EXECUTING", "FINISH", "FAILED"]
TaskStatus = Literal["WAITING", "EXECUTING", "SUCCESS", "FAILED"]
Role = Literal["master", "slave"]
NodeAccess = Literal["socket", "tcp", "password"]
RoleName = Literal["viewer", "operator", "admin"]
TokenKind = Literal["token", "session"]

UNFINISHED: tuple[TaskStatus, ...] = ("WAITING", "EXECUTING")
ENDED: tuple[TaskStatus, ...] = ("SUCCESS", "FAILED")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. Every query made for it is bound to its project."""

    project_id: str
    user_id: str
    user_name: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential speaks for.

    :ivar credential: which one it was, in words that give no secret away.
    :ivar project_id: the project that is asked for; None where a request concerns none.
    :ivar role: what the user is in that project; None where nothing.
    """

    user_id: str
    user_name: str
    credential: str
    project_id: str | None
    role: RoleName | None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What instances belong to."""

    id: str
    name: str
    created_at: int


class User(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar password: its argon2 hash; None for a user who signs with keys alone."""

    id: str
    name: str
    password: str | None
    enabled: bool
    created_at: int


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key. It speaks for its user in every project where that user has a role."""

    access_key: str
    secret_key: str
    user_id: str
    enabled: bool
    created_at: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was issued. The token itself is not kept.

    :ivar digest: SHA-256 of the token, hexadecimal.
    :ivar project_id: the one project it is good for; None for one that only says who its user is.
    :ivar kind: a `token` is valid in the header X-Auth-Token alone, a `session` in the console's cookie alone.
    """

    digest: str
    user_id: str
    project_id: str | None
    issued_at: int
    expires_at: int
    kind: TokenKind = "token"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was allowed to change something, or was refused it.

    :ivar at: when it came.
    :ivar source: address that it came from.
    :ivar status: the HTTP status that it was answered with; None while it runs, and for good where the server died in
        the middle of it.
    :ivar count: number of calls that this entry stands for: refused calls that repeat are counted, not stored.
    :ivar subjects: ids of what the call concerns, where the path does not name them.
    """

    sequence: int = 0
    at: int
    request_id: str
    project_id: str | None
    user_id: str
    user_name: str
    credential: str
    source: str
    action: str
    method: str
    path: str
    status: int | None = None
    error_code: str | None = None
    count: int = 1
    subjects: tuple[str, ...] = ()


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project wants to be told of its tasks.

    :ivar events: types of events; all of them where it is empty.
    :ivar secret: what its requests are signed with, `whsec_...`.
    :ivar enabled: false once the receiver has said 410 Gone.
    """

    id: str
    project_id: str
    url: str
    events: tuple[str, ...]
    secret: str
    enabled: bool
    created_at: int


DeliveryStatus = Literal["WAITING", "DELIVERED", "FAILED"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one webhook.

    :ivar id: the event's id too: the same for every attempt.
    :ivar event: its type; `subject` is the task's id.
    :ivar body: the CloudEvent as it is sent.
    :ivar queued: the next attempt is in line.
    :ivar next_try_at: not before then; None for at once.
    :ivar http_status: how the last attempt was answered; None where it was not, `error` then says why.
    """

    id: str
    webhook_id: str
    event: str
    subject: str
    body: str
    created_at: int
    status: DeliveryStatus = "WAITING"
    attempts: int = 0
    queued: bool = False
    next_try_at: int | None = None
    http_status: int | None = None
    error: str = ""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One cache. `spec_code` is what it has now: a resize changes it when the resize has succeeded.

    :ivar seed_port: port of the node that is named to clients first.
    :ivar password: None where the instance takes clients without one.
    :ivar control_secret: password of the control plane's own user on every node; never shown to anybody.
    :ivar parameters: settings of the server that the owner has changed, by their names in Valkey.
    :ivar node_ca: private key and certificate of the authority for TLS between the instance's nodes, PEM; None where
    they talk in clear. Never shown to anybody.
    :ivar attributes: what the caller said at creation and reads back unchanged (vpc_id, description, tags, ...).
    :ivar error_code: why the status is ERROR or CREATEFAILED.
    """

    id: str
    project_id: str
    name: str
    status: str
    engine_version: str
    spec_code: str
    seed_port: int
    password: str | None
    control_secret: str
    attributes: dict[str, Any]
    user_id: str
    user_name: str
    created_at: int
    updated_at: int
    launched_at: int | None = None
    error_code: str | None = None
    parameters: dict[str, str] = {}
    node_ca: str | None = None


FaultKind = Literal[
    "foreign_member",
    "credentials_refused",
    "node_start",
    "node_id",
    "uncovered_slots",
    "missing_member",
    "failed_primary",
    "cluster_state",
    "no_answer",
]


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of an instance, from its report to its end.

    :ivar detail: what was found when it began.
    :ivar ended_at: None while the instance has the fault.
    """

    id: str
    instance_id: str
    project_id: str
    kind: FaultKind
    error_code: str
    detail: str
    began_at: int
    ended_at: int | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One Valkey server process. `id` is its 40-hex cluster node id; `shard` counts from 0.

    :ivar role: the role it was made for; who is master now is the cluster's to say.
    :ivar maxmemory: bytes.
    :ivar wanted: it should be running; one that is not is started again.
    :ivar access: how the control plane reaches it: through its socket, or, while a process runs that an earlier release
    started, over TCP as its own user (`tcp`) or still with the clients' password (`password`).
    :ivar tls_port: port for TLS between nodes; None where the nodes of the instance talk in clear.
    """

    id: str
    instance_id: str
    shard: int
    role: Role
    host: str
    port: int
    bus_port: int
    maxmemory: int
    wanted: bool
    created_at: int
    access: NodeAccess = "socket"
    tls_port: int | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """Every TCP port that the node listens on."""
        return (self.port, self.bus_port) if self.tls_port is None else (self.port, self.bus_port, self.tls_port)

    @property
    def peer_port(self) -> int:
        """The port that other nodes of the instance replicate from and move slots to."""
        return self.tls_port or self.port


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """How much a sub-step has to do, in a unit that a real counter counts.

    :ivar unit: `bytes`, `keys`, `nodes`, ...: only for people; arithmetic is on seconds.
    :ivar seconds: what the whole is expected to take, `fixed` included.
    :ivar fixed: the part of `seconds` that no counter shows (a handover, an election): done when the sub-step is.
    :ivar lane: sub-steps of one lane run one after another; lanes run side by side.
    """

    unit: str
    total: float
    seconds: float
    fixed: float = 0.0
    lane: str


class SubStep(msgspec.Struct, frozen=True, kw_only=True):
    """One sub-step. `action` names the function that performs it, `arguments` are what that function needs."""

    id: str
    name: str
    action: str
    arguments: dict[str, Any]
    work: Work
    done: float = 0.0
    status: StepStatus = "WAITING"
    begin_time: int | None = None
    end_time: int | None = None
    detail: str = ""
    error_code: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    sub_steps: tuple[SubStep, ...]
    status: StepStatus = "WAITING"
    begin_time: int | None = None
    end_time: int | None = None
    error_code: str | None = None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted when a task first showed a percent, and how well.

    :ivar at: when it was said.
    :ivar error: by how much of the task's duration the end was predicted too late (or, negative, too early); None until
        the task has ended well.
    """

    percent: int
    at: int
    remaining_seconds: float
    error: float | None = None


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """How a task is wanted to run, as its owner last said.

    :ivar wish: `pause` holds it back between ranges, `cancel` ends it and leaves the instance in order.
    :ivar parallel: how many lanes may run side by side; None for all.
    :ivar latency_ceiling_ms: nothing is begun while a node it concerns answers slower than this, and so seldom that 99
    of 100 requests are answered faster.
    :ivar hurry: clients need not be spared; it is to be over soon.
    """

    wish: Literal["run", "pause", "cancel"] = "run"
    parallel: int | None = None
    latency_ceiling_ms: float | None = None
    hurry: bool = False


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an operation on one instance.

    :ivar kind: the operation's own name; `name` is the cloud's word for it.
    :ivar percent: 0-100, never lower than it was; 100 only with SUCCESS.
    :ivar remaining_seconds: as estimated at `estimated_at`.
    :ivar attempt: how often it was asked to try again after it had failed.
    :ivar revision: grows with every change; whoever writes must name the one it read.
    """

    id: str
    instance_id: str
    project_id: str
    kind: str
    name: str
    status: TaskStatus
    params: dict[str, Any]
    details: dict[str, Any]
    user_id: str
    user_name: str
    created_at: int
    begin_time: int | None = None
    end_time: int | None = None
    error_code: str | None = None
    message: str = ""
    percent: int = 0
    remaining_seconds: float = 0.0
    estimated_at: int | None = None
    attempt: int = 0
    revision: int = 0
    forecasts: tuple[Forecast, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def run_id(self) -> str:
        """Different for each attempt."""
        return f"{self.id}.{self.attempt}" if self.attempt else self.id
