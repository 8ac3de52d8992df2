"""A real `cachewright serve` for tests: started, killed, restarted, and removed afterwards."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkdcs.v2 import DcsClient

PATIENCE_SECONDS = 120
COMMAND = (sys.executable, "-m", "cachewright", "serve")
ROOMY = ("--memory-overcommit", "1000", "--migration-network", "127.0.0.0/8")
"""Several servers share a machine, and their nodes stay almost empty. Tests of capacity omit this. Sources of
migrations are on the same machine too."""
UNLIMITED = ("--rate-limit", "10000/second", "--change-rate-limit", "10000/second")
"""All the tests of a shared server send their requests as one user."""


_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(address: str = "", **options: Any) -> httpx.Client:
    """Return a client for servers without TLS. It does not load certificate authorities, which takes many times as long
    as a request, and tests that wait make many requests.

    :param address: its own, one of those of the loopback.
    """
    transport = httpx.HTTPTransport(verify=_NO_AUTHORITIES, local_address=address or None)
    return httpx.Client(transport=transport, **{"timeout": 60, **options})


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
        with http_client() as http:
            answer = http.send(self.signed(method, path, body))
        return answer.status_code, answer.json() if answer.content else None

    def metrics(self) -> str:
        token = (self.data_dir / "metrics.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        with http_client() as http:
            return http.get(self.credentials["endpoint"] + "/metrics", headers=headers).text

    def client(self, **changed: str) -> Any:
        """The cloud's own client, unmodified. `changed` replaces credentials."""
        known = self.credentials | changed
        signer = BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])
        return DcsClient.new_builder().with_credentials(signer).with_endpoint(known["endpoint"]).build()


def until(
    condition: Callable[[], Any], message: str, seconds: float = PATIENCE_SECONDS, *, lasting: bool = False
) -> Any:
    """Wait for the first true result of `condition`, and return it. The pauses between two calls grow with the time
    that has passed: most conditions ask the server, and tests share the processors.

    :param lasting: the condition stays true, so the pauses may grow to a quarter of a second.
    """
    start = time.monotonic()
    share, longest = (0.05, 0.25) if lasting else (0.02, 0.1)
    while (passed := time.monotonic() - start) < seconds:
        if answer := condition():
            return answer
        time.sleep(min(max(0.02, share * passed), longest))
    raise AssertionError(f"not within {seconds} s: {message}")


def freeze(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def thaw(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGCONT)
