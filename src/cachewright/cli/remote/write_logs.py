"""`cachewright backups write-log`."""

from typing import Annotated

from cyclopts import Parameter, validators

from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_table, size
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.http import ApiClient

_MOST_HOURS = 168


def write_log(
    instance: Instance,
    *,
    keep_hours: Annotated[
        int | None,
        Parameter(
            help="Hours for which writes are kept from now on; 0 deletes them.",
            validator=validators.Number(gte=0, lte=_MOST_HOURS),
        ),
    ] = None,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Show the past moments that can be backed up, or change how long writes are kept.

    Example: cachewright backups write-log cache --keep-hours 24
    """
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}/write-log"
    body = server.ask("GET", path) if keep_hours is None else server.ask("PUT", path, {"keep_hours": keep_hours})
    if json:
        print_json(body)
        return
    print(f"kept for {body['keep_hours']} hours, {size(body['size'])}" if body["keep_hours"] else "no write log")
    print_table(("FIRST", "LAST"), [(one["first"], one["last"]) for one in body["windows"]])
