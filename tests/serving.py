"""A real `cachewright serve` for tests: started, killed, restarted, and removed afterwards."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import SdkException, ServiceResponseException
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkdcs.v2 import (
    CopyInstanceRequest,
    CreateInstanceBody,
    CreateInstanceRequest,
    DcsClient,
    ListBackgroundTaskRequest,
    ListBackupRecordsRequest,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    ShowBackgroundTaskProgressRequest,
    ShowInstanceRequest,
)
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ValkeyClusterException, ValkeyError

PASSWORD = "Test-password-1"
PATIENCE_SECONDS = 120
FAULTS = (ValkeyError, ValkeyClusterException, OSError)
"""What a client raises while nodes start, end, or move."""

_OVER = object()
_FAILOVER_SECONDS = 11
"""Longer than a node waits for the end of a failover that it was asked for."""
ENDED = frozenset({"SUCCESS", "FAILED"})
COMMAND = (sys.executable, "-m", "cachewright", "serve")
ROOMY = ("--memory-overcommit", "1000", "--migration-network", "127.0.0.0/8")
"""Several servers share a machine, and their nodes stay almost empty. Tests of capacity omit this. Sources of
migrations are on the same machine too."""


class Server:
    """One data directory and the server that runs on it."""

    def __init__(
        self,
        data_dir: Path,
        command: tuple[str, ...] = COMMAND,
        arguments: tuple[str, ...] = ROOMY,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """:param environment: variables of the server in addition to those of the tests."""
        self.data_dir = data_dir
        self.host = host
        self.arguments = arguments
        self.command = command
        self.environment = dict(environment or {})
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        credentials = self.data_dir / "credentials.json"
        credentials.unlink(missing_ok=True)
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *self.arguments, "--data-dir", self.data_dir, "--listen", f"{self.host}:{self.port}"],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        until(lambda: self._answers(credentials), f"the server does not answer:\n{self.log()}")
        self.port = int(self.credentials["endpoint"].rpartition(":")[2])

    def refusal(self) -> tuple[int, str]:
        """Exit code and error message of a server that does not start."""
        place = ("--data-dir", self.data_dir, "--listen", f"{self.host}:{self.port}")
        command = [*self.command, *self.arguments, *place]
        tried = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            env={**os.environ, **self.environment},
        )
        return tried.returncode, tried.stderr

    def _answers(self, credentials: Path) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server has ended:\n{self.log()}"
        if not credentials.exists():
            return False
        port = int(json.loads(credentials.read_text())["endpoint"].rpartition(":")[2])
        listening = psutil.Process(self.process.pid).net_connections(kind="tcp")
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in listening)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop the server by a signal, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def clean_up(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        for process in self.nodes():
            process.kill()

    def nodes(self) -> list[psutil.Process]:
        """Running nodes of this data directory, without the children that write their snapshots and files."""
        found = []
        for process in psutil.process_iter(["cmdline", "status", "ppid"]):
            words = process.info["cmdline"] or []
            if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(self.data_dir) in word for word in words[1:]):
                found.append(process)
        own = None if self.process is None else self.process.pid
        parents = {process.pid for process in found} - {own}
        return [process for process in found if process.pid != own and process.info["ppid"] not in parents]

    def log(self) -> str:
        path = self.data_dir.parent / f"{self.data_dir.name}.log"
        return path.read_text() if path.exists() else ""

    @property
    def credentials(self) -> dict[str, str]:
        read: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return read

    def signed(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Request:
        """Send a signed request below the project, for operations that the SDK lacks."""
        known = self.credentials
        raw = b"" if body is None else json.dumps(body).encode()
        resource = f"/v2/{known['project_id']}/{path}"
        request = SdkRequest(
            method=method,
            schema="http",
            host=urlsplit(known["endpoint"]).netloc,
            resource_path=resource,
            query_params=[],
            header_params={"Content-Type": "application/json", **headers},
            body=raw,
        )
        signed = Signer(BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])).sign(request)
        return httpx.Request(method, known["endpoint"] + resource, headers=signed.header_params, content=raw)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body."""
        with httpx.Client(timeout=60) as http:
            answer = http.send(self.signed(method, path, body))
        return answer.status_code, answer.json() if answer.content else None

    def metrics(self) -> str:
        token = (self.data_dir / "metrics.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(self.credentials["endpoint"] + "/metrics", headers=headers).text

    def client(self, **changed: str) -> Any:
        """The cloud's own client, unmodified. `changed` replaces credentials."""
        known = self.credentials | changed
        signer = BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])
        return DcsClient.new_builder().with_credentials(signer).with_endpoint(known["endpoint"]).build()


def until(condition: Callable[[], Any], message: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for the first true result of `condition`, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {message}")


def spec(shards: int, *, copies: int = 1, shard_gb: int = 1) -> str:
    return f"redis.cluster.xu1.large.r{copies}.s{shard_gb}.{shards * shard_gb}"


def create_body(shards: int = 3, **changed: Any) -> CreateInstanceBody:
    copies = changed.pop("copies", 1)
    wished = {
        "name": "cache",
        "engine": "Redis",
        "engine_version": "7.0",
        "capacity": shards,
        "spec_code": spec(shards, copies=copies),
        "az_codes": ["local"],
        "vpc_id": "local",
        "subnet_id": "local",
        "password": PASSWORD,
    }
    return CreateInstanceBody(**(wished | changed))


def window(later: int) -> dict[str, str]:
    """A maintenance window of four hours that begins so many hours after the present one."""
    now = datetime.now(UTC)
    times = (now + timedelta(hours=later), now + timedelta(hours=later + 4))
    return dict(zip(("maintain_begin", "maintain_end"), (f"{time:%H}:00:00" for time in times), strict=True))


def create(client: Any, shards: int = 3, **changed: Any) -> str:
    answer = client.create_instance(CreateInstanceRequest(body=create_body(shards, **changed)))
    return str(answer.instances[0].instance_id)


def created(client: Any, shards: int = 3, **changed: Any) -> str:
    """Create an instance, wait until it is RUNNING, and return its id."""
    instance_id = create(client, shards, **changed)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    return instance_id


def resize(client: Any, instance_id: str, shards: int, **sizes: int) -> str:
    """Start a resize, and return the id of its task."""
    gigabytes = shards * sizes.get("shard_gb", 1)
    body = ResizeInstanceBody(spec_code=spec(shards, **sizes), new_capacity=gigabytes)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def show(client: Any, instance_id: str) -> Any:
    return client.show_instance(ShowInstanceRequest(instance_id=instance_id))


def gone(client: Any, instance_id: str) -> bool:
    """Whether the instance does not exist any more. False if the server does not answer."""
    try:
        show(client, instance_id)
    except SdkException as error:
        return isinstance(error, ServiceResponseException) and error.error_code == "DCS.3022"
    return False


def newest_task(client: Any, instance_id: str) -> Any:
    return client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks[0]


def progress(client: Any, instance_id: str, task_id: str) -> Any:
    request = ShowBackgroundTaskProgressRequest(instance_id=instance_id, task_id=task_id)
    return client.show_background_task_progress(request)


def ended(client: Any, instance_id: str, task_id: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for the end of a task, and return its row."""

    def row() -> Any:
        tasks = client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks
        return next((task for task in tasks if task.id == task_id and task.status in ENDED), None)

    return until(row, f"task {task_id} has not ended", seconds)


def resize_until(
    client: Any, instance_id: str, shards: int, seen: Callable[[str], Any], **sizes: int
) -> tuple[str, Any]:
    """Start a resize; the id of its running task, and the first true result of `seen` for that id.

    If the resize ends before `seen` is true, the instance is resized back, and the resize is repeated.
    """
    before = show(client, instance_id).sharding_count
    for _ in range(40):
        task_id = resize(client, instance_id, shards, **sizes)
        answer = until(
            lambda task_id=task_id: seen(task_id) or (newest_task(client, instance_id).status in ENDED and _OVER),
            f"task {task_id} is not seen as it should be",
        )
        if answer is not _OVER:
            return task_id, answer
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        assert ended(client, instance_id, resize(client, instance_id, before, **sizes)).status == "SUCCESS"
    raise AssertionError("each resize was over before it was seen as it should be")


def backed_up(client: Any, instance_id: str) -> str:
    """Id of a new backup that has succeeded."""
    backup_id = client.copy_instance(CopyInstanceRequest(instance_id=instance_id)).backup_id

    def is_there() -> bool:
        records = client.list_backup_records(ListBackupRecordsRequest(instance_id=instance_id)).backup_record_response
        record = next(one for one in records if one.backup_id == backup_id)
        assert record.status != "failed", record
        return bool(record.status == "succeed")

    until(is_there, "the backup has not succeeded")
    return str(backup_id)


def in_migration(client: Any, instance_id: str, task_id: str) -> Any:
    """Progress of a resize during its data migration; None before and after."""
    seen = progress(client, instance_id, task_id)
    steps = {step.step_name: step.step_status for step in seen.step_details}
    return seen if steps.get("Data migration.") == "EXECUTING" else None


def held_in_migration(
    server: Server, client: Any, instance_id: str, shards: int, *, copies: int = 1, **control: Any
) -> str:
    """Start a resize; the id of its task, which waits in the data migration because its latency ceiling is unreachable.

    `control` are further control settings. A control request without a ceiling lets the task continue. A resize that
    was over before it had its ceiling is repeated.
    """
    limits = control | {"latency_ceiling_ms": 0.000001}
    limited: set[str] = set()

    def held(task_id: str) -> bool:
        if task_id not in limited:
            limited.add(task_id)
            server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", limits)
        return is_held(client, instance_id, task_id)

    return resize_until(client, instance_id, shards, held, copies=copies)[0]


def is_held(client: Any, instance_id: str, task_id: str) -> bool:
    """Whether a range of slots waits for the latency ceiling of a resize."""
    seen = progress(client, instance_id, task_id)
    details = [sub.detail for step in seen.step_details for sub in step.sub_step_details or []]
    return any("status:waiting for the latency ceiling" in detail for detail in details)


def cache(client: Any, instance_id: str) -> ValkeyCluster:
    """A cluster-aware client of the instance."""
    shown = show(client, instance_id)
    return ValkeyCluster(host=shown.ip, port=shown.port, password=PASSWORD)


def load(caches: ValkeyCluster, keys: int, size: int = 200) -> None:
    """Write keys `key:0`, `key:1`, ... with values of this number of bytes."""
    for start in range(0, keys, 2000):
        pipeline = caches.pipeline()
        for number in range(start, min(start + 2000, keys)):
            pipeline.set(f"key:{number}", "x" * size)
        pipeline.execute()


def present(caches: ValkeyCluster, keys: int) -> int:
    """Number of these keys that exist."""
    parts = (range(start, min(start + 2000, keys)) for start in range(0, keys, 2000))
    return sum(caches.exists(*(f"key:{number}" for number in part)) for part in parts)


def operator_of(server: Server, host: str, port: int, **options: Any) -> Valkey:
    """A connection to one node as the control plane's user, with administrative rights, also while the node does not
    accept clients. LookupError if no node has the port."""
    for conf in (server.data_dir / "nodes").glob("*/valkey.conf"):
        lines = dict(line.split(" ", 1) for line in conf.read_text().splitlines() if " " in line)
        if int(lines["port"]) == port:
            secret = lines["primaryauth"].strip('"')
            place: dict[str, Any] = {"host": host, "port": port}
            if (conf.parent / "valkey.sock").exists():
                place = {"unix_socket_path": f"/proc/self/fd/{_opened(conf.parent)}/valkey.sock"}
            return Valkey(**place, username="cachewright", password=secret, **options)
    raise LookupError(f"no node has port {port}")


@functools.cache
def _opened(folder: Path) -> int:
    """A descriptor of a folder, through which the path of a socket is short enough."""
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def states(caches: ValkeyCluster) -> set[str]:
    """cluster_state as each node reports it."""
    return {caches.cluster_info(target_nodes=node)["cluster_state"] for node in caches.get_nodes()}


def serves(client: Any, instance_id: str) -> bool:
    """Whether a new client of the cache reaches every node, and each one says that the cluster is whole.

    A client that has met only closed ports may never find the nodes again, so each call makes its own.
    """
    try:
        return states(cache(client, instance_id)) == {"ok"}
    except FAULTS:
        return False


def take_over(replica: Valkey) -> None:
    """Make the replica the primary of its shard. A failover that a slow machine did not finish in time is repeated."""

    def is_primary() -> bool:
        if replica.execute_command("ROLE")[0] in {"master", b"master"}:
            return True
        if time.monotonic() > again[0]:
            again[0] = time.monotonic() + _FAILOVER_SECONDS
            replica.execute_command("CLUSTER FAILOVER")
        return False

    again = [0.0]
    until(is_primary, "the replica does not take over")


def freeze(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def thaw(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGCONT)
