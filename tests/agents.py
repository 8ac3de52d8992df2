"""A real `cachewright agent` for tests, with a database role of its own."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from commands import run_here
from machines import LOCAL, Machines
from postgres_server import PostgresServer, at_address
from serving import ROOMY, Server, freeze, thaw, until

PASSWORD = "Agent-password-1"
VARIABLE = "CACHEWRIGHT_DATABASE_URL"


class AgentProcess(Server):
    """Started, killed, restarted, and removed afterwards, like a server."""

    def __init__(
        self, name: str, address: str, data_dir: Path, url: str, *options: str, inside: Sequence[str] = ()
    ) -> None:
        """:param inside: words before a command that runs on its machine."""
        super().__init__(data_dir, arguments=options, environment={VARIABLE: url})
        self.name = name
        self.address = address
        self._inside = inside

    def start(self) -> None:
        self.launch()
        self.wait_until_it_runs()

    def wait_until_it_runs(self) -> None:
        until(self._runs, "the agent does not start")

    def _runs(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"the agent has ended:\n{self.log()}"
        return "runs nodes of host" in self.log()

    def launch(self) -> None:
        place = ("--host", self.name, "--address", self.address, "--data-dir", str(self.data_dir))
        words = ("agent", *place, *self.arguments)
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._inside, sys.executable, "-m", "cachewright", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def processes_in(self, folder: str) -> list[Path]:
        """Folders of processes below this folder of the data directory."""
        return list((self.data_dir / folder).glob("[!.]*"))

    def die(self) -> None:
        """End all its processes, as a machine without power does: the agent and the nodes."""
        self.kill()
        for process in self.nodes():
            process.kill()


def shared_role(url: str, number: int) -> str:
    """Create a role that all agents share, as for earlier releases. Return the database's URL for it."""
    name = f"agent{number}"
    statements = f"""
        CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}';
        GRANT USAGE ON SCHEMA public, dbos TO {name};
        GRANT SELECT, UPDATE ON hosts TO {name};
        GRANT SELECT (id, host_name) ON nodes TO {name};
        GRANT SELECT (id, host_name) ON sentinels TO {name};
        GRANT SELECT ON server_claims TO {name};
        GRANT SELECT, DELETE ON stale_nodes TO {name};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dbos TO {name};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA dbos TO {name};
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dbos TO {name};
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())
    return re.sub(r"//postgres:[^@]*@", f"//{name}:{PASSWORD}@", url)


def own_role(server: Server, host: str) -> str:
    """Give a host a role of its own by `hosts grant`. Return the database's URL for it, with its password file."""
    file = server.data_dir.parent / f"{host}.pgpass"
    words = ("hosts", "grant", host, "--apply", "--password-file", file, "--data-dir", server.data_dir)
    done = run_here(*words, environment=server.environment)
    assert done.returncode == 0, done.stderr
    (role,) = re.findall(r"The role of host \S+ is (\S+)\.\n", done.stdout)
    return url_for(role, file, server.environment[VARIABLE])


def url_for(role: str, password_file: Path, url: str) -> str:
    """Return the database's URL for a role whose password is in a file."""
    own = re.sub(r"//postgres:[^@]*@", f"//{role}@", url)
    return f"{own}&passfile={password_file}"


@contextmanager
def hosts_on(
    postgres: PostgresServer,
    folder: Path,
    zones: Sequence[str],
    *options: str,
    of_agents: Mapping[str, Sequence[str]] | None = None,
) -> Iterator["Hosts"]:
    """Hosts with a database of their own, which ends with them. For the parameters see `Hosts`."""
    url = postgres.new_database()
    made = Hosts(url, folder, zones, *options, of_agents=of_agents)
    try:
        yield made
    finally:
        made.clean_up()
        postgres.drop_database(url)


class Hosts:
    """A server with the host `local`, and agents of the hosts h2, h3, ..., each with an address of its own."""

    def __init__(
        self,
        url: str,
        folder: Path,
        zones: Sequence[str] = ("az2", "az3"),
        *options: str,
        of_agents: Mapping[str, Sequence[str]] | None = None,
        machines: Machines | None = None,
        role: Callable[[Server, str], str] = own_role,
    ) -> None:
        """:param zones: those of h2, h3, ...; that of `local` is `local`.
        :param options: of the server, :param of_agents: of agents, by the names of their hosts.
        :param machines: those of the hosts, of which this thread has entered `local`; None for loopback addresses.
        :param role: returns the URL of the database for the agent of a host.
        """
        self.url = url
        self._of_agents = of_agents or {}
        self._role = role
        self.agents: dict[str, AgentProcess] = {}
        self._machines = machines
        if machines:
            options += ("--node-address", machines[LOCAL].address)
        self.server = Server(folder / "data", arguments=(*ROOMY, *options), environment={VARIABLE: url})
        try:
            self._start(folder, zones)
        except BaseException:
            self.clean_up()
            raise

    def _start(self, folder: Path, zones: Sequence[str]) -> None:
        self.server.start()
        names = {f"h{number}": zone for number, zone in enumerate(zones, start=2)}
        for name, zone in names.items():
            self.run("hosts", "add", name, "--zone", zone)
        roles = {name: self._role(self.server, name) for name in names}
        for number, (name, role) in enumerate(roles.items(), start=2):
            place, options = folder / f"agent{number}", self._of_agents.get(name, ())
            if self._machines:
                machine, url = self._machines[name], at_address(role, self._machines[LOCAL].address)
                agent = AgentProcess(name, machine.address, place, url, *options, inside=machine.inside)
            else:
                agent = AgentProcess(name, f"127.0.0.{number}", place, role, *options)
            self.agents[name] = agent
            agent.launch()
        for agent in self.agents.values():
            agent.wait_until_it_runs()
        until(lambda: all(self.listed()[name]["reporting"] for name in self.agents), "a host does not report")

    def tried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the data directory of the server."""
        return run_here(*words, "--data-dir", self.server.data_dir, environment=self.server.environment)

    def run(self, *words: str) -> str:
        """Run a command that succeeds, and return what it prints."""
        done = self.tried(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def listed(self) -> dict[str, Any]:
        return {host["name"]: host for host in self.server.call("GET", "hosts")[1]["hosts"]}

    def places(self, instance_id: str) -> dict[int, list[str]]:
        """Return the names of the hosts of each shard."""
        found: dict[int, list[str]] = {}
        for name, host in self.listed().items():
            for node in host["nodes"]:
                if node["instance_id"] == instance_id:
                    found.setdefault(node["shard"], []).append(name)
        return dict(sorted(found.items()))

    def frozen_with(self, folder: str) -> AgentProcess | None:
        """Return an agent with a process below this folder of its data directory. It is frozen then, so that it cannot
        end the process."""
        for agent in filter(lambda agent: agent.processes_in(folder), self.agents.values()):
            assert agent.process is not None
            process = psutil.Process(agent.process.pid)
            freeze(process)
            if agent.processes_in(folder):
                return agent
            thaw(process)
        return None

    def kill_server_while_agent_has(self, folder: str) -> None:
        """Kill the server and start it again while an agent has a process below this folder, which is not killed."""
        agent = until(lambda: self.frozen_with(folder), f"no agent has a process in {folder}")
        self.server.kill()
        self.server.start()
        assert agent.process is not None
        thaw(psutil.Process(agent.process.pid))

    def sentinels(self) -> Counter[str]:
        """Return the number of recorded sentinels by host."""
        with psycopg.connect(self.url) as connection:
            return Counter(row[0] for row in connection.execute("SELECT host_name FROM sentinels"))

    def clean_up(self) -> None:
        for process in (*self.agents.values(), self.server):
            process.clean_up()
