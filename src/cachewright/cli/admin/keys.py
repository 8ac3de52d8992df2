"""`cachewright keys`."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.services import accounts
from cachewright.services.accounts import Credentials
from cachewright.store import keys, users

app = App(name="keys", help="Keys that requests are signed with.")

OfKey = Annotated[str, Parameter(help="The access key.")]


@app.command(name="list")
def show(*, folder: DataDirectory, json: AsJson = False) -> None:
    """Every key, without its secret."""
    with folder.read() as connection:
        names = {user.id: user.name for user in users.every(connection)}
        found: list[dict[str, object]] = [
            {"access_key": key.access_key, "user": names[key.user_id], "enabled": key.enabled}
            for key in keys.every(connection)
        ]
    print_rows(found, ("access_key", "user", "enabled"), json)


@app.command
def create(user: Annotated[str, Parameter(help="Name of the user it speaks for.")], *, folder: DataDirectory) -> None:
    """A new key as JSON. Its secret is shown this once.

    Example: (umask 077; cachewright keys create alice --data-dir ./data > alice.json)
    """
    with folder.change("iam:credentials:create", user=user) as connection:
        made = accounts.add_key(connection, user)
    _print(made)


@app.command
def rotate(access_key: OfKey, *, folder: DataDirectory) -> None:
    """Another key for the same user, as JSON; this one is disabled."""
    with folder.change("iam:credentials:rotate", key=access_key) as connection:
        made = accounts.rotate_key(connection, access_key)
    _print(made)


@app.command
def disable(access_key: OfKey, *, folder: DataDirectory) -> None:
    """What it signs is refused."""
    with folder.change("iam:credentials:disable", key=access_key) as connection:
        accounts.enable_key(connection, access_key, False)


@app.command
def enable(access_key: OfKey, *, folder: DataDirectory) -> None:
    """It works again."""
    with folder.change("iam:credentials:enable", key=access_key) as connection:
        accounts.enable_key(connection, access_key, True)


@app.command
def delete(access_key: OfKey, *, folder: DataDirectory) -> None:
    """It is gone for good."""
    with folder.change("iam:credentials:delete", key=access_key) as connection:
        accounts.remove_key(connection, access_key)


def _print(made: Credentials) -> None:
    """With the members of the server's own `credentials.json`, but for the endpoint, which is not known here."""
    shown = {
        "project_id": made.project.id if made.project else None,
        "project_name": made.project.name if made.project else None,
        "access_key": made.key.access_key,
        "secret_key": made.key.secret_key,
    }
    print(msgspec.json.format(msgspec.json.encode(shown)).decode())
