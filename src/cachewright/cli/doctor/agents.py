"""Checks of the roles by which agents use a PostgreSQL database."""

from collections.abc import Iterator

import sqlalchemy as sa

from cachewright.cli.doctor.finding import Finding
from cachewright.cli.doctor.records import read
from cachewright.config import Settings
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.store import agent_schemas, hosts

_NAME = "agents"


def check_agents(settings: Settings) -> Iterator[Finding]:
    """Check that no agent can disturb other hosts. Without a readable database, or without agents, there is no
    finding."""

    def query(connection: sa.Connection) -> tuple[list[HostRecord], list[str], bool] | None:
        agents = [host for host in hosts.every(connection) if host.name != EMBEDDED]
        if not agents or not agent_schemas.are_possible(connection):
            return None
        return agents, agent_schemas.writers(connection), agent_schemas.is_open_to_all(connection)

    if (found := read(settings, query)) is None:
        return
    agents, writers, is_open = found
    sharing = [host.name for host in agents if host.report and not host.report.has_own_role]
    for name in sharing:
        message = f"the agent of host {name} uses a role that agents share, which can disturb all tasks and hosts"
        remedy = (
            f"cachewright hosts grant {name} --password-file {name}.pgpass --apply; start its agent with that role."
        )
        yield Finding(_NAME, "warn", message, remedy)
    for role in writers:
        message = f"the role {role} may change calls and tasks of all hosts"
        remedy = f'When no agent uses it: DROP OWNED BY "{role}"; DROP ROLE "{role}";'
        yield Finding(_NAME, "warn", message, "REVOKE the right." if role == "PUBLIC" else remedy)
    if is_open:
        message = "every role of the database may create objects beside the tables of Cachewright"
        remedy = f"Run what `cachewright hosts grant {agents[0].name}` prints, as an administrator of the database."
        yield Finding(_NAME, "warn", message, remedy)
    if not (sharing or writers or is_open):
        yield Finding(_NAME, "ok", "each agent has a role of its own in the database")
