"""`cachewright servers`."""

import msgspec
from cyclopts import App

from cachewright.api.schemas.servers import shown_server, shown_takeover
from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.services.servers import overview

app = App(name="servers", help="Servers that share the database: list, takeovers.")

_SERVER = ("machine", "pid", "release", "listen", "started", "performs_tasks", "epoch", "seen")
_TAKEOVER = ("epoch", "machine", "pid", "cause", "from", "to")


@app.command(name="list")
def show_all(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List servers, which of them performs tasks and since when, and the time of each one's latest report.

    A server that was stopped is not listed; one that ended otherwise is, for a day or until it starts again.

    Example: cachewright servers list --data-dir ./data
    """
    with folder.read() as connection:
        found = overview(connection)
    rows: list[dict[str, object]] = []
    for details in found.servers:
        row = msgspec.to_builtins(shown_server(details))
        if not json:
            row["started"] = row["started_at"]
            row["performs_tasks"] = row["performs_since"] or details.performs_tasks
            row["epoch"] = "" if details.record.epoch is None else details.record.epoch
            row["seen"] = f"{details.seen_seconds:.0f} s ago" + (", does not report" if details.is_silent else "")
        rows.append(row)
    print_rows(rows, _SERVER, json)


@app.command
def takeovers(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List the times in which each server has performed tasks, newest first, and why it began to.

    Causes: `first`; `stopped`, its predecessor was stopped; `restarted`, it ended otherwise and was started again;
    `silent`, its predecessor did not renew the claim.

    Example: cachewright servers takeovers --data-dir ./data
    """
    with folder.read() as connection:
        found = overview(connection)
    rows: list[dict[str, object]] = [msgspec.to_builtins(shown_takeover(takeover)) for takeover in found.takeovers]
    if not json:
        rows = [row | {"from": row["began_at"], "to": row["ended_at"] or "now"} for row in rows]
    print_rows(rows, _TAKEOVER, json)
