"""`cachewright database`."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli import environment
from cachewright.cli.environment import StartupError
from cachewright.cli.settings import DatabaseUrl, read_database_url
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.store.copying import copy
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import open_for_copy, open_in_use

app = App(name="database", help="The database of a server: copy it to PostgreSQL.")

_FORMER = ".copied"


@app.command(name="copy")
def copy_to_postgres(
    *,
    data_dir: Annotated[
        Path, Parameter(help="Data directory of the server, which is stopped.", env_var="CACHEWRIGHT_DATA_DIR")
    ],
    secret_key_file: Annotated[
        Path | None,
        Parameter(help="Key file of the server, if not in the data directory.", env_var="CACHEWRIGHT_SECRET_KEY_FILE"),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Copy all records from SQLite in the data directory to an empty PostgreSQL database. Tasks continue there.

    Example: cachewright database copy --data-dir ./data --database-url postgresql://cachewright@db/caches
    """
    try:
        url = read_database_url(database_url)
        if url is None or not url.startswith("postgresql"):
            raise ValueError("name the PostgreSQL database by --database-url")
        source = Settings(data_dir=data_dir.absolute(), secret_key_file=secret_key_file)
        with environment.only_server_of(source.data_dir):
            _copy(source, url)
    except (ValueError, StartupError, DatabaseNotReady, WrongKey) as error:
        sys.exit(f"cachewright: {error}")
    except OSError as error:
        sys.exit(f"cachewright: cannot use {error.filename or data_dir}: {error.strerror}")
    except DatabaseUnavailable as error:
        sys.exit(f"cachewright: cannot copy the database: {error}")


def _copy(source: Settings, url: str) -> None:
    with closing(open_in_use(source)) as records, closing(open_for_copy(url, records.cipher)) as target:
        copied = copy(records, target)
        name = target.name
    file = source.database_file
    former = file.rename(file.with_name(file.name + _FORMER))
    for table, rows in copied.items():
        print(f"{table}: {rows}")
    print(f"All records are in {name}. Start the server with --database-url. The former file is {former}")
