"""Data that tests put into the database of a running server, and measurements of its process."""

import time
import uuid

import psutil
from identities import beside

from cachewright.model.identity import RoleName, Token
from cachewright.services import accounts
from cachewright.services.tokens import digest
from cachewright.store import instances, keys, tokens
from database_fixtures import an_instance
from sdk_calls import spec
from serving import Server

_DAY_MS = 24 * 3600 * 1000


def add_instance(server: Server, spec_code: str = spec(3)) -> str:
    """Id of an instance on record that has no nodes."""
    now = int(time.time() * 1000)
    instance = an_instance(
        id=str(uuid.uuid4()),
        project_id=server.credentials["project_id"],
        status="CREATEFAILED",
        spec_code=spec_code,
        created_at=now,
        updated_at=now,
    )
    with beside(server) as connection:
        instances.add(connection, instance)
    return instance.id


def add_token(server: Server) -> str:
    """A token of the first user, for the first project."""
    text, now = uuid.uuid4().hex, int(time.time() * 1000)
    with beside(server) as connection:
        key = keys.get(connection, server.credentials["access_key"])
        assert key
        tokens.add(
            connection,
            Token(
                digest=digest(text),
                user_id=key.user_id,
                project_id=server.credentials["project_id"],
                issued_at=now,
                expires_at=now + _DAY_MS,
            ),
        )
    return text


def add_user_with_key(server: Server, role: RoleName) -> dict[str, str]:
    """Access key and secret key of another user."""
    name = f"u-{uuid.uuid4().hex[:12]}"
    with beside(server) as connection:
        accounts.add_user(connection, name, None)
        accounts.grant(connection, name, server.credentials["project_name"], role)
        key = accounts.add_key(connection, name).key
    return {"access_key": key.access_key, "secret_key": key.secret_key}


def memory_mb(server: Server) -> float:
    """Resident memory of the server."""
    assert server.process
    return float(psutil.Process(server.process.pid).memory_info().rss) / 1024**2


def connections(server: Server) -> int:
    """Connections of the HTTP server that are open on its side."""
    assert server.process
    known = psutil.Process(server.process.pid).net_connections(kind="tcp")
    return sum(1 for c in known if c.laddr.port == server.port and c.raddr)
