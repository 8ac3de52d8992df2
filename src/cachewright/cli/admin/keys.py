"""`cachewright keys`."""

from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.services import accounts
from cachewright.services.accounts import Credentials
from cachewright.store import keys, users

app = App(name="keys", help="Access keys that sign requests.")

OfKey = Annotated[str, Parameter(help="The access key.")]


@app.command(name="list")
def show(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List access keys without secrets."""
    with folder.read() as connection:
        names = {user.id: user.name for user in users.every(connection)}
        found: list[dict[str, object]] = [
            {"access_key": key.access_key, "user": names[key.user_id], "enabled": key.enabled}
            for key in keys.every(connection)
        ]
    print_rows(found, ("access_key", "user", "enabled"), json)


@app.command
def create(
    user: Annotated[str, Parameter(help="Name of the user that the key authenticates.")], *, folder: DataDirectory
) -> None:
    """Create an access key and print it as JSON. The secret is shown only once.

    Example: (umask 077; cachewright keys create alice --data-dir ./data > alice.json)
    """
    with folder.change("iam:credentials:create", user=user) as connection:
        made = accounts.add_key(connection, user)
    _print(made)


@app.command
def rotate(access_key: OfKey, *, folder: DataDirectory) -> None:
    """Create a new key for the same user, print it as JSON and disable this key."""
    with folder.change("iam:credentials:rotate", key=access_key) as connection:
        made = accounts.rotate_key(connection, access_key)
    _print(made)


@app.command
def disable(access_key: OfKey, *, folder: DataDirectory) -> None:
    """Disable a key. Requests signed with it are rejected."""
    with folder.change("iam:credentials:disable", key=access_key) as connection:
        accounts.enable_key(connection, access_key, False)


@app.command
def enable(access_key: OfKey, *, folder: DataDirectory) -> None:
    """Enable a key again."""
    with folder.change("iam:credentials:enable", key=access_key) as connection:
        accounts.enable_key(connection, access_key, True)


@app.command
def delete(access_key: OfKey, *, folder: DataDirectory) -> None:
    """Delete a key permanently."""
    with folder.change("iam:credentials:delete", key=access_key) as connection:
        accounts.remove_key(connection, access_key)


def _print(made: Credentials) -> None:
    """Print the members of `credentials.json` except the endpoint, which only the server knows."""
    shown = {
        "project_id": made.project.id if made.project else None,
        "project_name": made.project.name if made.project else None,
        "access_key": made.key.access_key,
        "secret_key": made.key.secret_key,
    }
    print(msgspec.json.format(msgspec.json.encode(shown)).decode())
