"""Clients of a cluster with a whitelist, from another machine and by another user of this one. Exits 0 if each gets
what it may.

Run it as root, with the data directory DATA_DIR, in a network namespace of its own. A second namespace is the other
machine.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest

from sdk_calls import PASSWORD, created, ended, gone, resize, show
from serving import ROOMY, Server, until

NODES, ALLOWED, OTHER = "10.77.0.1", "10.77.0.2", "10.77.0.3"
NOBODY = 65534
_CLIENT = """
import os, socket, sys
source, host, port, user = sys.argv[1:5]
if user != "0": os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
end = socket.socket()
end.settimeout(5)
try:
    with end:
        end.bind((source, 0))
        end.connect((host, int(port)))
        end.sendall(f"AUTH {sys.argv[5]}\\r\\n".encode())
        assert end.recv(100) == b"+OK\\r\\n"
        print("connected", flush=True)
        sys.stdin.readline()
        end.sendall(b"PING\\r\\n")
        print(end.recv(100).decode().strip() or "closed")
except OSError as error:
    print("refused" if isinstance(error, ConnectionError) else repr(error))
"""


def main(data_dir: Path) -> None:
    server = Server(data_dir, arguments=(*ROOMY, "--nftables", "--node-address", NODES))
    with other_machine() as inside:
        try:
            server.start()
            filter_clients(server, inside)
        finally:
            server.clean_up()


def filter_clients(server: Server, inside: Sequence[str]) -> None:
    client = server.client()
    instance_id = created(client, 1)
    (port,) = ports(client, instance_id)
    require_replies(inside, port, "+PONG", "+PONG")
    with connected(inside, OTHER, port) as open_connection:
        allow(server, instance_id, ALLOWED, "10.78.0.0/16")
        assert open_connection.answer() in {"closed", "refused"}
    require_replies(inside, port, "+PONG", "refused")
    by_user = [reply((), NODES, port, user) for user in (NOBODY, os.geteuid())]
    assert by_user == ["refused", "+PONG"], f"only the server's own user is not filtered: {by_user}"

    subprocess.run(["nft", "flush", "ruleset"], check=True)
    until(lambda: reply(inside, OTHER, port) == "refused", "rules that were removed are not loaded again")
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    both = ports(client, instance_id)
    assert len(both) == 2
    for each in both:
        require_replies(inside, each, "+PONG", "refused")

    task_id = requested(server, instance_id, ALLOWED, "10.79.0.0/16")
    server.kill()
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    server.start()
    client = server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_replies(inside, port, "+PONG", "refused")
    allow(server, instance_id)
    require_replies(inside, port, "+PONG", "+PONG")
    allow(server, instance_id, ALLOWED)
    require_replies(inside, port, "+PONG", "refused")
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    until(lambda: not tables(), "its rules stay")
    assert " ERROR " not in server.log(), server.log()


def require_replies(inside: Sequence[str], port: int, allowed: str, other: str) -> None:
    replies = (reply(inside, ALLOWED, port), reply(inside, OTHER, port))
    assert replies == (allowed, other), replies


def allow(server: Server, instance_id: str, *addresses: str) -> None:
    task = ended(server.client(), instance_id, requested(server, instance_id, *addresses))
    assert task.status == "SUCCESS", server.call("GET", f"tasks/{task.id}")


def requested(server: Server, instance_id: str, *addresses: str) -> str:
    """Id of the task that allows only these addresses."""
    groups = [{"group_name": "shop", "ip_list": list(addresses)}] if addresses else []
    body = {"enable_whitelist": bool(addresses), "whitelist": groups}
    status, told = server.call("PUT", f"instance/{instance_id}/whitelist-async", body)
    assert status == 200, told
    return str(told["job_id"])


def ports(client: Any, instance_id: str) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in show(client, instance_id).backend_addrs.split(",")]


def reply(inside: Sequence[str], source: str, port: int, user: int = 0) -> str:
    """What a client from this address gets for PING. `inside` is the prefix of a command on the other machine."""
    with connected(inside, source, port, user) as client:
        return client.answer()


class Client:
    """A client that has connected, or was refused."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout
        self._process = process
        self._first = process.stdout.readline().strip()

    def answer(self) -> str:
        """What it gets for PING."""
        return self._process.communicate("\n")[0].strip() if self._first == "connected" else self._first


@contextmanager
def connected(inside: Sequence[str], source: str, port: int, user: int = 0) -> Iterator[Client]:
    words = [*inside, sys.executable, "-c", _CLIENT, source, NODES, str(port), str(user), PASSWORD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Client(process)


def tables() -> list[str]:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "cachewright" in line]


@contextmanager
def other_machine() -> Iterator[Sequence[str]]:
    """A machine with the addresses ALLOWED and OTHER, as the prefix of a command that runs there."""
    own = Path("/proc/self/ns/net").readlink()
    with subprocess.Popen(["unshare", "--net", "sleep", "300"]) as machine:
        try:
            until(lambda: Path(f"/proc/{machine.pid}/ns/net").readlink() != own, "there is no second namespace")
            inside = ("nsenter", "--target", str(machine.pid), "--net", "--")
            run("ip link set lo up")
            run(f"ip link add near type veth peer name far netns {machine.pid}")
            run(f"ip addr add {NODES}/24 dev near")
            run("ip link set near up")
            for address in (ALLOWED, OTHER):
                run(f"ip addr add {address}/24 dev far", inside)
            run("ip link set far up", inside)
            yield inside
        finally:
            machine.kill()


def run(command: str, inside: Sequence[str] = ()) -> None:
    subprocess.run([*inside, *command.split()], check=True)


if __name__ == "__main__":
    main(Path(os.environ["DATA_DIR"]))
