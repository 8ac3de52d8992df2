"""`cachewright users`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.cli.admin.passwords import new_password
from cachewright.model.identity import RoleName
from cachewright.services import accounts
from cachewright.store import users

app = App(name="users", help="Users, and what they may do in which project.")

Name = Annotated[str, Parameter(help="Name of the user.")]
Project = Annotated[str, Parameter(help="Name of the project.")]
FromStdin = Annotated[bool, Parameter(negative="", help="Read the password from standard input; do not ask for it.")]


@app.command(name="list")
def show(*, folder: DataDirectory, json: AsJson = False) -> None:
    """Every user with the roles that the user has."""
    with folder.read() as connection:
        names = {project.id: project.name for project in users.every_project(connection)}
        roles = users.roles(connection)
        found: list[dict[str, object]] = [
            {
                "name": user.name,
                "id": user.id,
                "enabled": user.enabled,
                "password": user.password is not None,
                "roles": {names[project]: role for owner, project, role in roles if owner == user.id},
            }
            for user in users.every(connection)
        ]
    print_rows(found, ("name", "enabled", "password", "roles"), json)


@app.command
def create(
    name: Name,
    *,
    folder: DataDirectory,
    role: Annotated[RoleName | None, Parameter(help="What the user is in the project.")] = None,
    project: Project = "local",
    password: Annotated[bool, Parameter(negative="", help="Ask for a password; who has none can only sign.")] = False,
    password_stdin: FromStdin = False,
) -> None:
    """A new user.

    Example: cachewright users create alice --role operator --password --data-dir ./data
    """
    chosen = new_password(password_stdin) if password or password_stdin else None
    with folder.change("iam:users:create", user=name) as connection:
        accounts.add_user(connection, name, chosen)
        if role:
            accounts.grant(connection, name, project, role)


@app.command
def set_password(name: Name, *, folder: DataDirectory, password_stdin: FromStdin = False) -> None:
    """Another password. Tokens that were got with the old one end."""
    chosen = new_password(password_stdin)
    with folder.change("iam:users:setPassword", user=name) as connection:
        accounts.set_password(connection, name, chosen)


@app.command
def grant(
    name: Name,
    role: Annotated[RoleName, Parameter(help="A viewer looks, an operator changes, an admin deletes and audits.")],
    *,
    folder: DataDirectory,
    project: Project = "local",
) -> None:
    """The one role that the user has in the project from now on."""
    with folder.change("iam:users:grant", user=name) as connection:
        accounts.grant(connection, name, project, role)


@app.command
def revoke(name: Name, *, folder: DataDirectory, project: Project = "local") -> None:
    """The user has no role in the project any more."""
    with folder.change("iam:users:revoke", user=name) as connection:
        accounts.grant(connection, name, project, None)


@app.command
def disable(name: Name, *, folder: DataDirectory) -> None:
    """The user's keys stop working, the tokens end."""
    with folder.change("iam:users:disable", user=name) as connection:
        accounts.enable_user(connection, name, False)


@app.command
def enable(name: Name, *, folder: DataDirectory) -> None:
    """The user's keys work again."""
    with folder.change("iam:users:enable", user=name) as connection:
        accounts.enable_user(connection, name, True)


@app.command
def delete(name: Name, *, folder: DataDirectory) -> None:
    """The user is gone, with keys, tokens and roles. What the user has made stays."""
    with folder.change("iam:users:delete", user=name) as connection:
        accounts.remove_user(connection, name)
