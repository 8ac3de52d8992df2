"""`cachewright templates`: named values of parameters for new instances."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.cli.remote.parameters import read_assignments
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import UsageError
from cachewright.client.http import ApiClient

app = App(name="templates", help="Templates of parameters: list, show, create, change, delete.")

_PAGE = 1000

Template = Annotated[str, Parameter(help="Name or id of a template.")]
Assignments = Annotated[str, Parameter(help="NAME=VALUE, none or more.")]


@app.command(name="list")
def list_all(*, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List the templates of the project, and those of the system.

    Example: cachewright templates list
    """
    body = ApiClient(target.account()).ask("GET", "config-templates", limit=_PAGE)
    if json:
        print_json(body)
        return
    rows = [
        (item["name"], item["type"], item["engine_version"], item["cache_mode"], item["template_id"])
        for item in body["templates"]
    ]
    print_table(("NAME", "TYPE", "VERSION", "FOR", "ID"), rows)


@app.command
def show(template: Template, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show the values of a template that differ from the defaults; all values with --json.

    Example: cachewright templates show sessions
    """
    server = ApiClient(target.account())
    body = server.ask("GET", f"config-templates/{found_template(server, template)}")
    if json:
        print_json(body)
        return
    print(f"{body['name']}: Redis {body['engine_version']}, {body['cache_mode']}. {body['description']}".rstrip())
    changed = [item for item in body["params"] if item["param_value"] != item["default_value"]]
    rows = [(item["param_name"], item["param_value"], item["default_value"]) for item in changed]
    print_table(("PARAMETER", "VALUE", "DEFAULT"), rows)


@app.command
def create(
    name: Annotated[str, Parameter(help="Name of the new template.")],
    *assignments: Assignments,
    source: Annotated[str, Parameter(name="--from", help="Name or id of the template to copy.")] = "redis-7.0-cluster",
    description: Annotated[str, Parameter(help="Description.")] = "",
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Create a template from another one, with other values of some parameters.

    Example: cachewright templates create sessions --from redis-7.0-single maxmemory-policy=allkeys-lru timeout=300
    """
    server = ApiClient(target.account())
    body = {
        "name": name,
        "description": description,
        "template_id": found_template(server, source),
        "params": read_assignments(assignments) if assignments else {},
    }
    answer = server.ask("POST", "config-templates", body)
    if json:
        print_json(answer)
    else:
        print(f"{name} {answer['id']}")


@app.command(name="set")
def change(template: Template, *assignments: Assignments, target: Target = DEFAULT_TARGET) -> None:
    """Change values of a template. Instances that exist do not change.

    Example: cachewright templates set sessions timeout=600
    """
    server = ApiClient(target.account())
    server.ask("PUT", f"config-templates/{found_template(server, template)}", {"params": read_assignments(assignments)})


@app.command
def delete(template: Template, *, target: Target = DEFAULT_TARGET) -> None:
    """Delete a template. Instances that were created with it keep their parameters.

    Example: cachewright templates delete sessions
    """
    server = ApiClient(target.account())
    server.ask("DELETE", f"config-templates/{found_template(server, template)}")


def found_template(server: ApiClient, named: str) -> str:
    """Id of the template with this id or name. UsageError if there is none, or several have the name."""
    listed: list[dict[str, Any]] = server.ask("GET", "config-templates", limit=_PAGE)["templates"]
    if any(item["template_id"] == named for item in listed):
        return named
    ids = [str(item["template_id"]) for item in listed if item["name"] == named]
    if len(ids) != 1:
        raise UsageError(f"{len(ids)} templates are named {named!r}; see `cachewright templates list`")
    return ids[0]
