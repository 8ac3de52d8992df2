"""A real `cachewright agent` for tests, with a database role of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg

from serving import Server, until

_ROOT = Path(__file__).parent.parent
PASSWORD = "Agent-password-1"


class AgentProcess(Server):
    """Started, killed, restarted, and removed afterwards, like a server."""

    def __init__(self, name: str, address: str, data_dir: Path, url: str) -> None:
        super().__init__(data_dir, environment={"CACHEWRIGHT_DATABASE_URL": url})
        self.name = name
        self.address = address

    def start(self) -> None:
        words = ("agent", "--host", self.name, "--address", self.address, "--data-dir", str(self.data_dir))
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cachewright", *words],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        until(lambda: "runs nodes of host" in self.log(), f"the agent does not start:\n{self.log()}")


def role_of_agents(url: str, number: int) -> str:
    """Create a role for agents by the statements in docs/hosts.md. Return the database's URL for it."""
    name = f"agent{number}"
    (statements,) = re.findall(r"```sql\n(.*?)```", (_ROOT / "docs/hosts.md").read_text(), re.DOTALL)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(re.sub(r"\bagent\b", name, statements).replace("'...'", f"'{PASSWORD}'").encode())
    return re.sub(r"//postgres:[^@]*@", f"//{name}:{PASSWORD}@", url)
