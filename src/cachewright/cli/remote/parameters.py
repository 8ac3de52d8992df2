"""`cachewright instances parameters`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import UsageError
from cachewright.client.http import ApiClient

app = App(name="parameters", help="Parameters of an instance: list, set.")

_RANGE_WIDTH = 60


@app.default
def show_all(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List the parameters of an instance with defaults and ranges.

    Example: cachewright instances parameters cache
    """
    server = ApiClient(target.account())
    body = server.ask("GET", f"instances/{found(server, instance)['instance_id']}/configs")
    if json:
        print_json(body)
        return
    if body["config_status"] != "SUCCESS":
        print(f"Last change of parameters: {body['config_status']}")
    for deviation in body["deviations"]:
        print(f"Node {deviation['node_id']} differs: {deviation['param_name']} is {deviation['param_value']}")
    rows = [
        (
            item["param_name"],
            item["param_value"],
            item["default_value"],
            _short(item["value_range"]),
            "yes" if item["need_restart"] else "",
        )
        for item in body["redis_config"]
    ]
    print_table(("PARAMETER", "VALUE", "DEFAULT", "RANGE", "RESTART"), rows)


@app.command(name="set")
def change(
    instance: Instance,
    *assignments: Annotated[str, Parameter(help="NAME=VALUE, one or more.")],
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Change parameters on all nodes of an instance. If one node rejects a value, all keep the old values.

    Example: cachewright instances parameters set cache maxmemory-policy=allkeys-lru timeout=300 --wait
    """
    values = read_assignments(assignments)
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}"
    ids = {item["param_name"]: item["param_id"] for item in server.ask("GET", f"{path}/configs")["redis_config"]}
    unknown = values.keys() - ids.keys()
    if unknown:
        raise UsageError(f"unknown parameter {', '.join(sorted(unknown))}; known: {', '.join(ids)}")
    items = [{"param_id": ids[name], "param_name": name, "param_value": value} for name, value in values.items()]
    answer = server.ask("PUT", f"{path}/async-configs", {"redis_config": items})
    result = f"{body['name']}: {', '.join(assignments)} (task {answer['job_id']})"
    follow(server, body["instance_id"], answer if json else result, wait, json)


def read_assignments(assignments: tuple[str, ...]) -> dict[str, str]:
    """Values by name. UsageError if an argument is not NAME=VALUE or repeats a name."""
    if not assignments:
        raise UsageError("name a change: NAME=VALUE")
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"{assignment!r} is not NAME=VALUE")
        if name in values:
            raise UsageError(f"{name} is given twice")
        values[name] = value
    return values


def _short(text: str) -> str:
    return text if len(text) <= _RANGE_WIDTH else f"{text[: _RANGE_WIDTH - 3]}..."
