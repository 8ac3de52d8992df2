"""`cachewright profiles`."""

import getpass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from cachewright.cli.remote.output import print_table
from cachewright.client import account
from cachewright.client.account import Account

app = App(name="profiles", help="Servers and keys to use, by name; kept in ~/.config/cachewright, mode 0600.")

Name = Annotated[str, Parameter(help="Name of the profile.")]


@app.command(name="list")
def show() -> None:
    """Every profile, without its secret. The one in use is marked."""
    current = account.profile_in_use()
    rows = [
        ("*" if name == current else "", name, one.endpoint, one.project_id, one.access_key)
        for name, one in account.profiles().items()
    ]
    print_table(("", "NAME", "ENDPOINT", "PROJECT", "ACCESS KEY"), rows)


@app.command
def add(
    name: Name,
    *,
    from_: Annotated[
        Path | None, Parameter(name="--from", help="Credentials file of a server; without one you are asked.")
    ] = None,
    endpoint: Annotated[str | None, Parameter(help="Another URL of the server.")] = None,
    project_id: Annotated[str | None, Parameter(help="Another project.")] = None,
    ca_file: Annotated[Path | None, Parameter(help="Certificates to trust instead of the system's, PEM.")] = None,
) -> None:
    """A new profile, in use from now on.

    Example: cachewright profiles add home --from ./data/credentials.json
    """
    if from_:
        found = account.read(from_)
    else:
        found = Account(
            endpoint=endpoint or input("URL of the server: "),
            project_id=project_id or input("Project id: "),
            access_key=input("Access key: "),
            secret_key=getpass.getpass("Secret key: "),
        )
    changed = {"endpoint": endpoint, "project_id": project_id, "ca_file": str(ca_file.absolute()) if ca_file else None}
    found = msgspec.structs.replace(found, **{field: value for field, value in changed.items() if value})
    account.write_profile(name, found)
    account.use_profile(name)


@app.command
def use(name: Name) -> None:
    """The one that commands use from now on."""
    account.use_profile(name)


@app.command
def remove(name: Name) -> None:
    """It is gone, and its secret with it."""
    account.remove_profile(name)
