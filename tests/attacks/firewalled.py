"""Attacks of another user of this machine under the rules of `cachewright firewall`. Exits 0 where each attack fails.

Run it as root, with the data directory DATA_DIR, in a network namespace of its own.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from foreign_server import foreign_server, settings_of_nodes

from caches import cache, load, present, states
from sdk_calls import created
from serving import Server, until

KEYS = 3000
OTHER = 65534
_AS_OTHER = f"""
import os, socket, sys
wanted = int(sys.argv[1])
if sys.argv[2] == "other": os.setgroups([]); os.setgid({OTHER}); os.setuid({OTHER})
end = socket.socket()
"""
_CONNECT = f"""{_AS_OTHER}
end.connect(("127.0.0.1", wanted))
"""
_SERVE = f"""{_AS_OTHER}
end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
end.bind(("127.0.0.1", wanted))
end.listen()
print("listens", flush=True)
end.settimeout(3)
try:
    end.accept()
    print("accepted")
except TimeoutError:
    print("nobody came")
"""


def main(data_dir: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = Server(data_dir)
    try:
        server.start()
        attack(server)
    finally:
        server.clean_up()


def attack(server: Server) -> None:
    client = server.client()
    instance_id = created(client, 3)
    load(cache(client, instance_id), KEYS)
    node_id, node = next(iter(settings_of_nodes(server).items()))
    bus, port = int(node["cluster-port"]), int(node["port"])
    assert connects("other", bus), "without the rules everybody reaches the bus"
    load_rules(server)
    load_rules(server)  # which replaces them
    assert not connects("other", bus), "another user reaches the bus"
    assert connects("server", bus), "the server's user does not reach the bus"
    assert connects("other", port), "clients do not reach the cache"
    with foreign_server(user=OTHER) as foreign:
        for settings in settings_of_nodes(server).values():
            foreign.meet(settings)
        until(foreign.has_given_up, "the foreign server goes on to ask")
        assert foreign.members() == set()
    created(client, 2, copies=2, name="made-under-the-rules")
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert present(caches, KEYS) == KEYS
    server.kill()
    down = next(process for process in server.nodes() if any(node_id in word for word in process.info["cmdline"]))
    down.kill()
    for taken in (bus, port):
        require_nobody_served(taken)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    with foreign_server(user=OTHER) as foreign:
        for settings in settings_of_nodes(server).values():
            foreign.meet(settings)
        until(foreign.members, "without the rules the attack does not work, so this test shows nothing")


def load_rules(server: Server) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "cachewright", "firewall", "--data-dir", server.data_dir],
        capture_output=True,
        text=True,
        check=True,
    )
    subprocess.run(["nft", "-f", "-"], input=printed.stdout, text=True, check=True)


def connects(user: str, port: int) -> bool:
    command = [sys.executable, "-c", _CONNECT, str(port), user]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert tried.returncode == 0 or "ConnectionRefusedError" in tried.stderr, tried.stderr
    return tried.returncode == 0


def require_nobody_served(port: int) -> None:
    """Another user who listens on the port of a node that is down gets no connection."""
    command = [sys.executable, "-c", _SERVE, str(port), "other"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout
        assert listening.stdout.readline() == "listens\n"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except TimeoutError:
            pass
        else:
            raise AssertionError("another user serves on the port of a node")
        assert listening.stdout.read() == "nobody came\n"


if __name__ == "__main__":
    main(Path(os.environ["DATA_DIR"]))
