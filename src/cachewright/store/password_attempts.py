"""Wrong passwords that callers have sent as the present password of an instance or an account."""

import sqlalchemy as sa

from cachewright.store.tables import password_attempts


def get(connection: sa.Connection, owner: str) -> tuple[int, int | None]:
    """Return the number of consecutive wrong passwords, and until when changes are locked (epoch milliseconds).

    :param owner: id of the instance or the account.
    """
    row = connection.execute(password_attempts.select().where(password_attempts.c.owner == owner)).one_or_none()
    return (row.failures, row.locked_until) if row else (0, None)


def put(connection: sa.Connection, owner: str, instance_id: str, failures: int, locked_until: int | None) -> None:
    clear(connection, owner)
    connection.execute(
        password_attempts.insert().values(
            owner=owner, instance_id=instance_id, failures=failures, locked_until=locked_until
        )
    )


def clear(connection: sa.Connection, owner: str) -> None:
    connection.execute(password_attempts.delete().where(password_attempts.c.owner == owner))
