"""`cachewright profiles`."""

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cachewright.cli.admin.passwords import hidden
from cachewright.cli.remote.output import print_table
from cachewright.client import account
from cachewright.client.account import Account

app = App(name="profiles", help="Named servers and access keys, stored in ~/.config/cachewright with mode 0600.")

Name = Annotated[str, Parameter(help="Name of the profile.")]


@app.command(name="list")
def show() -> None:
    """List profiles without secrets. An asterisk marks the active profile."""
    current = account.profile_in_use()
    rows = [
        ("*" if name == current else "", name, profile.endpoint, profile.project_id, profile.access_key)
        for name, profile in account.profiles().items()
    ]
    print_table(("", "NAME", "ENDPOINT", "PROJECT", "ACCESS KEY"), rows)


@app.command
def add(
    name: Name,
    *,
    from_: Annotated[
        Path | None, Parameter(name="--from", help="Credentials file of a server; without it, the command asks.")
    ] = None,
    endpoint: Annotated[str | None, Parameter(help="URL of the server, instead of the file's.")] = None,
    project_id: Annotated[str | None, Parameter(help="Project id, instead of the file's.")] = None,
    ca_file: Annotated[Path | None, Parameter(help="CA certificates to trust instead of the system's (PEM).")] = None,
) -> None:
    """Add a profile and make it the active profile.

    Example: cachewright profiles add home --from ./data/credentials.json
    """
    if from_:
        found = account.read(from_)
    else:
        found = Account(
            endpoint=endpoint or input("URL of the server: "),
            project_id=project_id or input("Project id: "),
            access_key=input("Access key: "),
            secret_key=hidden("Secret key: "),
        )
    changed = {"endpoint": endpoint, "project_id": project_id, "ca_file": str(ca_file.absolute()) if ca_file else None}
    found = msgspec.structs.replace(found, **{field: value for field, value in changed.items() if value})
    account.write_profile(name, found)
    account.use_profile(name)


@app.command
def use(name: Name) -> None:
    """Make a profile the active profile."""
    account.use_profile(name)


@app.command
def remove(name: Name) -> None:
    """Remove a profile and its secret."""
    account.remove_profile(name)
