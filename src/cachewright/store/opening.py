"""Open the database of the settings with the key of its secrets."""

import uuid

import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.private_files import write_private
from cachewright.store import postgres, sqlite
from cachewright.store.claim import new_session_name
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import SecretCipher, WrongKey, make_key, read_key
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.servers import join_servers
from cachewright.store.sqlite import SqliteDatabase
from cachewright.store.transactions import current_revision

_USERS = "users"
"""A table of every database with encrypted secrets. Databases of 0.1 have secrets in clear and lack this table."""

_EXAMPLE = "postgresql://user@host/database"
_SECRET_PARAMETERS = {"password", "sslpassword"}
"""Parameters of libpq whose values messages would reveal."""


def parse_database_url(text: str) -> str:
    """Return the URL in the form that `Settings` keeps. Raises ValueError with a message without the password."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(f"the database URL is not valid; an example is {_EXAMPLE}") from None
    if _SECRET_PARAMETERS & url.query.keys():
        raise ValueError("the database URL has a password among its parameters; write it as user:password@host")
    dialect, _, driver = url.drivername.partition("+")
    if dialect in {"postgres", "postgresql"} and driver in {"", "psycopg"} and url.database:
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if url.drivername == "sqlite" and url.database and url.database.startswith("/"):
        return text
    shown = url.render_as_string(hide_password=True)
    raise ValueError(f"{shown} is not a database URL such as {_EXAMPLE} or sqlite:////path/of/file.db")


def has_password(url: str) -> bool:
    """Whether a URL of `parse_database_url` holds a password."""
    return bool(sa.make_url(url).password)


def database_place(settings: Settings) -> str:
    """Return the place of the database, for operators: the data directory, or the URL without its password."""
    if settings.database_url is None:
        return str(settings.data_dir)
    return sa.make_url(settings.database_url).render_as_string(hide_password=True)


def open_at(url: str, cipher: SecretCipher, session: str = "cachewright") -> SqliteDatabase | PostgresDatabase:
    """Open the database at this URL without migrating it. SQLite creates a missing file. `session` is the name of
    sessions on a PostgreSQL server."""
    parsed = sa.make_url(url)
    return SqliteDatabase(parsed, cipher) if _is_sqlite(parsed) else PostgresDatabase(parsed, cipher, session)


def open_database(settings: Settings) -> SqliteDatabase | PostgresDatabase:
    """Open the database for a server. Migrate its tables to this release, or on PostgreSQL wait while a server of an
    earlier release uses them. Create a key file if the database is new.

    On PostgreSQL another server may have the claim to perform tasks; see `Database.claim`.

    Raises WrongKey if the key is missing or does not decrypt the secrets, DatabaseNotReady if other servers exclude
    this one, DatabaseUnavailable if the database cannot be read or written.
    """
    url, session = _settings_url(settings), new_session_name()
    if settings.key_file.exists():
        cipher = read_key(settings.key_file)
    elif _has_table(sa.make_url(url), _USERS):
        raise WrongKey(f"{settings.key_file} is missing: the secrets in {database_place(settings)} need it")
    else:
        cipher = make_key(settings.key_file)
    database = open_at(url, cipher, session)
    try:
        if isinstance(database, PostgresDatabase):
            database.require_version()
            join_servers(database, server_id(settings), session)
        else:
            database.migrate()
        database.require_key()
    except BaseException:
        database.close()
        raise
    return database


def open_in_use(settings: Settings) -> SqliteDatabase | PostgresDatabase:
    """Open the database while a server may use it, without migrating its tables.

    Raises DatabaseNotReady if no server of this release has used it, WrongKey and DatabaseUnavailable like
    `open_database`.
    """
    url = _settings_url(settings)
    parsed = sa.make_url(url)
    if not settings.key_file.exists() or (_is_sqlite(parsed) and not sqlite.exists(parsed)):
        raise DatabaseNotReady(f"no server of this release has run on {settings.data_dir} yet")
    database = open_at(url, read_key(settings.key_file))
    try:
        if (revision := database.revision()) is None:
            raise DatabaseNotReady(f"no server of this release has run on {database.name} yet")
        if revision != current_revision():
            raise DatabaseNotReady(f"{database.name} is another release's; start this release's server first")
        database.require_key()
    except BaseException:
        database.close()
        raise
    return database


def open_for_copy(url: str, cipher: SecretCipher) -> SqliteDatabase | PostgresDatabase:
    """Open a database that no server uses, and create the tables. Raises DatabaseNotReady, DatabaseUnavailable."""
    database = open_at(url, cipher)
    try:
        if isinstance(database, PostgresDatabase):
            database.require_version()
        if database.revision() not in {None, current_revision()}:
            raise DatabaseNotReady(f"{database.name} is another release's; name an empty database")
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def server_id(settings: Settings) -> str:
    """Return the identity of the server of a data directory, which is made at its first start."""
    file = settings.data_dir / "server.id"
    if not file.exists():
        write_private(file, f"{uuid.uuid4()}\n".encode())
    return file.read_text().strip()


def _settings_url(settings: Settings) -> str:
    """Return the URL of these settings' database, with its password."""
    return settings.database_url or f"sqlite:///{settings.database_file}"


def _is_sqlite(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _has_table(url: sa.URL, name: str) -> bool:
    return sqlite.has_table(url, name) if _is_sqlite(url) else postgres.has_table(url, name)
