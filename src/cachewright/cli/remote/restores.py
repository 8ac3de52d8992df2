"""`cachewright backups restore`, `cachewright backups restores`."""

from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.http import ApiClient

app = App(name="restores", help="Restores of backups.")
_ALL = 1000


@app.command
def restore(
    backup: Annotated[str, Parameter(help="Id of a backup, also of another instance of the project.")],
    instance: Instance,
    *,
    remark: Annotated[str, Parameter(help="Remark, at most 128 characters.")] = "",
    no_safety_backup: Annotated[
        bool, Parameter(negative="", help="Make no backup of the present data before it is replaced.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Replace the data of an instance with that of a backup.

    The instance serves its present data until the new data is on the disks of its nodes. Then clients cannot use it
    while the nodes load the new data. To restore into a new instance, use `cachewright instances create --from-backup`.

    Example: cachewright backups restore 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10 cache --wait
    """
    server = ApiClient(target.account())
    instance_id = found(server, instance)["instance_id"]
    body = {"backup_id": backup, "remark": remark, "safety_backup": not no_safety_backup}
    answer = server.ask("POST", f"instances/{instance_id}/restores", body)
    follow(server, instance_id, answer if json else answer["restore_id"], wait, json)


@app.command
def restores(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List restores into an instance, newest first.

    Example: cachewright backups restores cache
    """
    server = ApiClient(target.account())
    body = server.ask("GET", f"instances/{found(server, instance)['instance_id']}/restores", limit=_ALL)
    if json:
        print_json(body)
        return
    rows = [
        (
            item["restore_id"],
            item["backup_id"],
            item["status"],
            f"{float(item['progress']):.0f} %",
            item["created_at"],
            item["error_code"] or item["restore_remark"],
        )
        for item in body["restore_record_response"]
    ]
    print_table(("ID", "BACKUP", "STATUS", "PROGRESS", "CREATED", "REMARK"), rows, right=("PROGRESS",))
