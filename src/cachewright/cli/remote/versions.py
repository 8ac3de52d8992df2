"""`cachewright instances version` and `cachewright instances upgrade`."""

from typing import Annotated

from cyclopts import Parameter

from cachewright.cli.remote.following import InWindow, Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_pairs, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.http import ApiClient


def version(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show the version of valkey-server that each node runs, and those that it can be upgraded to."""
    server = ApiClient(target.account())
    body = server.ask("GET", f"instances/{found(server, instance)['instance_id']}/version")
    if json:
        print_json(body)
        return
    print_pairs(
        [
            ("version", body["engine_minor_version"] or "no node answers"),
            ("available", ", ".join(body["available_engine_minor_versions"])),
            ("upgradable", "yes" if body["engine_minor_version_upgradable"] else "no"),
        ]
    )
    rows = [(node["node_id"], node["engine_minor_version"] or "does not answer") for node in body["nodes"]]
    print_table(("NODE", "VERSION"), rows)


def upgrade(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    to: Annotated[str, Parameter(help="Version of a configured valkey-server, such as 9.1.2, or latest.")] = "latest",
    in_maintenance_window: InWindow = False,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Upgrade the nodes of an instance to another valkey-server, one after another, replicas first.

    Example: cachewright instances upgrade cache --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}/minor-version/upgrade"
    answer = server.ask("POST", path, {"engine_minor_version": to, "execute_immediately": not in_maintenance_window})
    follow(server, body["instance_id"], answer if json else f"{body['name']} to Valkey {to}", wait, json)
