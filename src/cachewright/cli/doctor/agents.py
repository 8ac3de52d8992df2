"""Checks of the roles by which agents use a PostgreSQL database."""

from collections.abc import Iterator
from contextlib import closing

from cachewright.cli.doctor.finding import Finding
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.model.hosts import EMBEDDED
from cachewright.store import agent_schemas, hosts
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import open_in_use

_NAME = "agents"


def check_agents(settings: Settings) -> Iterator[Finding]:
    """Check that no agent can disturb other hosts. Without a readable database, or without agents, there is no
    finding."""
    try:
        with closing(open_in_use(settings)) as database, database.read() as connection:
            agents = [host for host in hosts.every(connection) if host.name != EMBEDDED]
            if not agents or not database.is_shared:
                return
            writers = agent_schemas.writers(connection)
            is_open = agent_schemas.is_open_to_all(connection)
    except (DatabaseNotReady, DatabaseUnavailable, WrongKey, OSError):
        return
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
