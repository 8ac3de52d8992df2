"""`cachewright users`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.cli.admin.passwords import new_password
from cachewright.model.identity import RoleName
from cachewright.services import accounts
from cachewright.store import users

app = App(name="users", help="Users and their roles in projects.")

Name = Annotated[str, Parameter(help="Name of the user.")]
Project = Annotated[str, Parameter(help="Name of the project.")]
FromStdin = Annotated[bool, Parameter(negative="", help="Read the password from standard input.")]


@app.command(name="list")
def show(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List users with their roles."""
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
    role: Annotated[RoleName | None, Parameter(help="Role of the user in the project.")] = None,
    project: Project = "local",
    password: Annotated[
        bool,
        Parameter(
            negative="",
            help="Ask for a password. Without a password, the user can only sign requests with access keys.",
        ),
    ] = False,
    password_stdin: FromStdin = False,
) -> None:
    """Create a user.

    Example: cachewright users create alice --role operator --password --data-dir ./data
    """
    chosen = new_password(password_stdin) if password or password_stdin else None
    with folder.change("iam:users:create", user=name) as connection:
        accounts.add_user(connection, name, chosen)
        if role:
            accounts.grant(connection, name, project, role)


@app.command
def set_password(name: Name, *, folder: DataDirectory, password_stdin: FromStdin = False) -> None:
    """Set the password of a user. Tokens issued for the old password are revoked."""
    chosen = new_password(password_stdin)
    with folder.change("iam:users:setPassword", user=name) as connection:
        accounts.set_password(connection, name, chosen)


@app.command
def grant(
    name: Name,
    role: Annotated[
        RoleName, Parameter(help="viewer: read; operator: also change; admin: also delete and read the audit log.")
    ],
    *,
    folder: DataDirectory,
    project: Project = "local",
) -> None:
    """Set the role of a user in a project."""
    with folder.change("iam:users:grant", user=name) as connection:
        accounts.grant(connection, name, project, role)


@app.command
def revoke(name: Name, *, folder: DataDirectory, project: Project = "local") -> None:
    """Remove the role of a user in a project."""
    with folder.change("iam:users:revoke", user=name) as connection:
        accounts.grant(connection, name, project, None)


@app.command
def disable(name: Name, *, folder: DataDirectory) -> None:
    """Disable a user. Access keys are rejected and tokens revoked."""
    with folder.change("iam:users:disable", user=name) as connection:
        accounts.enable_user(connection, name, False)


@app.command
def enable(name: Name, *, folder: DataDirectory) -> None:
    """Enable a user again."""
    with folder.change("iam:users:enable", user=name) as connection:
        accounts.enable_user(connection, name, True)


@app.command
def delete(name: Name, *, folder: DataDirectory) -> None:
    """Delete a user with keys, tokens and roles. Instances that the user created stay."""
    with folder.change("iam:users:delete", user=name) as connection:
        accounts.remove_user(connection, name)
