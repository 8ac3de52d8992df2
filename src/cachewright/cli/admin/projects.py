"""`cachewright projects`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.services import accounts
from cachewright.store import users

app = App(name="projects", help="Projects, to which instances and tasks belong.")


@app.command(name="list")
def show(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List projects."""
    with folder.read() as connection:
        found: list[dict[str, object]] = [
            {"name": project.name, "id": project.id} for project in users.every_project(connection)
        ]
    print_rows(found, ("name", "id"), json)


@app.command
def create(name: Annotated[str, Parameter(help="Name of the project.")], *, folder: DataDirectory) -> None:
    """Create a project. `cachewright users grant` gives users a role in it."""
    with folder.change("iam:projects:create") as connection:
        accounts.add_project(connection, name)
