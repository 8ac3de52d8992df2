"""`cachewright migrations`: copies of the data of another server, or of files, into an instance."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cachewright.cli.admin.passwords import from_first_line, hidden
from cachewright.cli.remote.following import Wait
from cachewright.cli.remote.lookup import found
from cachewright.cli.remote.output import AsJson, print_json, print_pairs, print_table
from cachewright.cli.remote.watching import watch
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.client.http import ApiClient

app = App(
    name="migrations",
    help="Migrations from other servers, and imports of files.",
)

_PAGE = 1000
_METHODS = {"full": "full_amount_migration", "incremental": "incremental_migration"}

Migration = Annotated[str, Parameter(help="Name or id of a migration.")]
FromStdin = Annotated[bool, Parameter(negative="", help="Read the password of the source from standard input.")]


@app.command(name="list")
def list_all(*, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List the migrations of the project, newest first.

    Example: cachewright migrations list
    """
    body = ApiClient(target.account()).ask("GET", "migration-tasks", limit=_PAGE)
    if json:
        print_json(body)
        return
    rows = [
        (item["task_name"], item["status"], item["data_source"], item["target_instance_name"], item["task_id"])
        for item in body["migration_tasks"]
    ]
    print_table(("NAME", "STATUS", "SOURCE", "INSTANCE", "ID"), rows)


@app.command
def show(migration: Migration, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show a migration with its progress and its lag.

    Example: cachewright migrations show move
    """
    server = ApiClient(target.account())
    migration_id = found_migration(server, migration)
    body = server.ask("GET", f"migration-task/{migration_id}")
    stats = server.ask("GET", f"migration-task/{migration_id}/stats")
    if json:
        print_json({**body, "stats": stats})
        return
    pairs: list[tuple[str, object]] = [
        ("status", body["status"]),
        ("source", body["source_instance"]["addrs"] or body["backup_files"]["backup_id"]),
        ("instance", body["target_instance"]["name"]),
        ("task", body["background_task_id"]),
        ("copied", f"{stats['full_migration_progress']} %"),
        ("keys", f"{stats['source_dbsize']} at the source, {stats['target_dbsize']} in the instance"),
    ]
    if cut_over := body["cut_over"]:
        lag = "{lag_seconds} s, {lag_keys} keys, {lag_bytes} bytes".format_map(cut_over)
        pairs += [("lag", lag), ("ready for the cut-over", "yes" if cut_over["ready"] else "no")]
    if body["error_message"]:
        pairs.append(("error", body["error_message"]))
    print_pairs(pairs)


@app.command
def start(
    name: Annotated[str, Parameter(help="Name of the migration.")],
    instance: Annotated[str, Parameter(name="--to", help="Name or id of the instance that gets the data.")],
    source: Annotated[
        tuple[str, ...], Parameter(name="--from", help="HOST:PORT of the source or of its sentinels; repeatable.")
    ],
    *,
    method: Annotated[
        Literal["full", "incremental"], Parameter(help="Copy once, or follow changes until the cut-over.")
    ] = "incremental",
    user: Annotated[str, Parameter(help="User at the source. Default: the default user of the source.")] = "",
    sentinel_name: Annotated[str, Parameter(help="Name of the primary, as the sentinels of the source know it.")] = "",
    tls: Annotated[bool, Parameter(negative="", help="Connect to the source with TLS.")] = False,
    tls_ca: Annotated[
        Path | None,
        Parameter(
            help="File with the certificates of the source's authorities. Default: those that the server trusts."
        ),
    ] = None,
    tls_any_host: Annotated[
        bool, Parameter(negative="", help="Accept any name in a certificate that these authorities have signed.")
    ] = False,
    tls_cert: Annotated[
        Path | None, Parameter(help="File with a client certificate, for a source that requires one.")
    ] = None,
    tls_key: Annotated[Path | None, Parameter(help="File with the private key of that certificate.")] = None,
    no_password: Annotated[bool, Parameter(negative="", help="The source has no password.")] = False,
    password_stdin: FromStdin = False,
    bandwidth_mb: Annotated[int | None, Parameter(help="Limit in megabytes per second.")] = None,
    resume: Annotated[
        Literal["auto", "manual"], Parameter(help="Whether to wait for a source that does not answer, or to fail.")
    ] = "auto",
    wait: Wait = False,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Start a migration into an instance. The password of the source is read from the terminal.

    Example: cachewright migrations start move --from 10.0.0.7:6379 --to cache
    """
    server = ApiClient(target.account())
    target_id = found(server, instance)["instance_id"]
    body: dict[str, Any] = {
        "task_name": name,
        "migration_type": "online_migration",
        "migration_method": _METHODS[method],
        "source_instance": {
            "addrs": ",".join(source),
            "password": None if no_password else _source_password(password_stdin),
            "username": user,
            "sentinel_name": sentinel_name,
            **_tls(tls, tls_ca, tls_any_host, tls_cert, tls_key),
        },
        "target_instance": {"id": target_id},
        "resume_mode": resume,
        "bandwidth_limit_mb": "" if bandwidth_mb is None else str(bandwidth_mb),
    }
    answer = server.ask("POST", "migration-task", body)
    _finish(server, answer["id"], answer if json else f"{name} {answer['id']}", wait, json)


@app.command(name="import")
def import_files(
    name: Annotated[str, Parameter(help="Name of the import.")],
    instance: Annotated[str, Parameter(name="--to", help="Name or id of the instance that gets the data.")],
    *,
    url: Annotated[tuple[str, ...], Parameter(help="URL of an RDB file; repeatable.")] = (),
    urls_stdin: Annotated[
        bool, Parameter(negative="", help="Read URLs from standard input, one per line. Signed URLs are secrets.")
    ] = False,
    backup: Annotated[str, Parameter(help="Id of a backup of the project.")] = "",
    bandwidth_mb: Annotated[int | None, Parameter(help="Limit in megabytes per second.")] = None,
    wait: Wait = False,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Import RDB files, or a backup, into an instance. Keys of the instance with other names stay.

    Example: cachewright migrations import old --to cache --url https://bucket.example.com/dump.rdb
    """
    if any("?" in text for text in url):
        raise UsageError("all users of the host can see arguments: give signed URLs with --urls-stdin")
    urls = [*url, *(filter(None, map(str.strip, sys.stdin)) if urls_stdin else ())]
    if bool(urls) == bool(backup):
        raise UsageError("give either URLs or --backup")
    source = "backup_record" if backup else "self_build_obs"
    server = ApiClient(target.account())
    body = {
        "task_name": name,
        "migration_type": "backupfile_import",
        "migration_method": _METHODS["full"],
        "backup_files": {
            "file_source": source,
            "backup_id": backup,
            "files": [{"file_name": text} for text in urls],
        },
        "target_instance": {"id": found(server, instance)["instance_id"]},
        "bandwidth_limit_mb": "" if bandwidth_mb is None else str(bandwidth_mb),
    }
    answer = server.ask("POST", "migration-task", body)
    _finish(server, answer["id"], answer if json else f"{name} {answer['id']}", wait, json)


@app.command(name="cut-over")
def cut_over(
    migration: Migration, *, wait: Wait = False, target: Target = DEFAULT_TARGET, json: AsJson = False
) -> None:
    """End an incremental migration as soon as everything is copied. First stop all writes to the source.

    Example: cachewright migrations cut-over move --wait
    """
    _act("cut-over", migration, wait=wait, target=target, json=json)


@app.command
def stop(migration: Migration, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Stop a migration. Copied keys stay in the instance.

    Example: cachewright migrations stop move
    """
    _act("stop", migration, wait=False, target=target, json=json)


@app.command
def restart(migration: Migration, *, wait: Wait = False, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Restart a migration that has failed or was stopped.

    Example: cachewright migrations restart move
    """
    server = ApiClient(target.account())
    migration_id = found_migration(server, migration)
    (result,) = server.ask("POST", "migration-tasks/batch-restart", {"migration_tasks": [migration_id]})[
        "migration_tasks"
    ]
    if result["result"] != "success":
        raise CommandFailed(f"{result['error_code']}: {result['error_msg']}")
    _finish(server, migration_id, result if json else f"{migration} is restarted", wait, json)


@app.command(name="set")
def change(migration: Migration, *, resume: Literal["auto", "manual"], target: Target = DEFAULT_TARGET) -> None:
    """Set whether a migration waits for a source that does not answer, or fails.

    Example: cachewright migrations set move --resume manual
    """
    server = ApiClient(target.account())
    server.ask("PUT", f"migration-task/{found_migration(server, migration)}", {"resume_mode": resume})


@app.command
def log(migration: Migration, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show what has happened to a migration, newest first.

    Example: cachewright migrations log move
    """
    server = ApiClient(target.account())
    body = server.ask("GET", f"migration-task/{found_migration(server, migration)}/logs", limit=_PAGE)
    if json:
        print_json(body)
        return
    rows = [(entry["created_at"], entry["log_level"], entry["message"]) for entry in body["migration_logs"]]
    print_table(("TIME", "LEVEL", "MESSAGE"), rows)


@app.command
def delete(migration: Migration, *, target: Target = DEFAULT_TARGET) -> None:
    """Delete the record of a migration that has ended.

    Example: cachewright migrations delete move
    """
    server = ApiClient(target.account())
    server.ask("DELETE", "migration-tasks/delete", {"task_id_list": [found_migration(server, migration)]})


def found_migration(server: ApiClient, named: str) -> str:
    """Id of the migration with this id, or the newest with this name. UsageError if there is none."""
    listed = server.ask("GET", "migration-tasks", limit=_PAGE)["migration_tasks"]
    for item in listed:
        if named in {item["task_id"], item["task_name"]}:
            return str(item["task_id"])
    raise UsageError(f"no migration is named {named!r}; see `cachewright migrations list`")


def _act(action: str, migration: str, *, wait: bool, target: Target, json: bool) -> None:
    server = ApiClient(target.account())
    migration_id = found_migration(server, migration)
    answer = server.ask("POST", f"migration-task/{migration_id}/{action}")
    _finish(server, migration_id, answer if json else f"{migration} {answer['status']}", wait, json)


def _finish(server: ApiClient, migration_id: str, result: Any, wait: bool, json: bool) -> None:
    """Print the result, or with `wait` follow the task of the migration. CommandFailed if that fails."""
    if wait:
        task_id = server.ask("GET", f"migration-task/{migration_id}")["background_task_id"]
        if not watch(server, [task_id], json):
            raise CommandFailed("the task has failed")
    elif json:
        print_json(result)
    else:
        print(result)


def _tls(
    enabled: bool, authorities: Path | None, any_host: bool, certificate: Path | None, key: Path | None
) -> dict[str, Any]:
    """Members of the source about TLS."""
    if not enabled:
        if authorities or any_host or certificate or key:
            raise UsageError("--tls-ca, --tls-any-host, --tls-cert and --tls-key need --tls")
        return {}
    if bool(certificate) != bool(key):
        raise UsageError("--tls-cert and --tls-key must be given together")
    if any_host and not authorities:
        raise UsageError("--tls-any-host needs --tls-ca: otherwise a certificate of any server would be accepted")
    return {
        "ssl_enabled": True,
        "ssl_ca": _content(authorities),
        "ssl_check_hostname": not any_host,
        "ssl_cert": _content(certificate),
        "ssl_key": _content(key),
    }


def _content(file: Path | None) -> str:
    try:
        return file.read_text() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error


def _source_password(from_stdin: bool) -> str:
    """The password of the source. Arguments hold no passwords: all users of the host can see them."""
    return from_first_line() if from_stdin else hidden("Password of the source: ")
