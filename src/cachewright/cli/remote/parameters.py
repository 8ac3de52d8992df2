"""`cachewright instances parameters`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.remote.instances import Instance, Wait, follow, found
from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.client.account import USUAL, Target
from cachewright.client.errors import UsageError
from cachewright.client.http import ApiClient

app = App(name="parameters", help="Parameters of an instance: list, set.")

_RANGE_WIDTH = 60


@app.default
def show_all(instance: Instance, *, target: Target = USUAL, json: AsJson = False) -> None:
    """Every parameter of an instance, with its default and its range.

    Example: cachewright instances parameters cache
    """
    server = ApiClient(target.account())
    body = server.ask("GET", f"instances/{found(server, instance)['instance_id']}/configs")
    if json:
        print_json(body)
        return
    if body["config_status"] != "SUCCESS":
        print(f"The last change of parameters: {body['config_status']}")
    rows = [
        (one["param_name"], one["param_value"], one["default_value"], _short(one["value_range"]))
        for one in body["redis_config"]
    ]
    print_table(("PARAMETER", "VALUE", "DEFAULT", "RANGE"), rows)


@app.command(name="set")
def change(
    instance: Instance,
    *assignments: Annotated[str, Parameter(help="NAME=VALUE, one or more.")],
    target: Target = USUAL,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Change parameters on every node of an instance, or on none.

    Example: cachewright instances parameters set cache maxmemory-policy=allkeys-lru timeout=300 --wait
    """
    wanted = _read(assignments)
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}"
    ids = {one["param_name"]: one["param_id"] for one in server.ask("GET", f"{path}/configs")["redis_config"]}
    unknown = wanted.keys() - ids.keys()
    if unknown:
        raise UsageError(f"there is no parameter {', '.join(sorted(unknown))}; there are {', '.join(ids)}")
    items = [{"param_id": ids[name], "param_name": name, "param_value": value} for name, value in wanted.items()]
    answer = server.ask("PUT", f"{path}/async-configs", {"redis_config": items})
    said = f"{body['name']}: {', '.join(assignments)} (task {answer['job_id']})"
    follow(server, body["instance_id"], answer if json else said, wait, json)


def _read(assignments: tuple[str, ...]) -> dict[str, str]:
    """Values by name. Misused where one is not NAME=VALUE, or a name is there twice."""
    if not assignments:
        raise UsageError("say what is to change: NAME=VALUE")
    wanted: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"{assignment!r} is not NAME=VALUE")
        if name in wanted:
            raise UsageError(f"{name} is there twice")
        wanted[name] = value
    return wanted


def _short(text: str) -> str:
    return text if len(text) <= _RANGE_WIDTH else f"{text[: _RANGE_WIDTH - 3]}..."
