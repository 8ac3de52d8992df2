"""`cachewright instances accounts`."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cachewright.cli.admin.passwords import new_password
from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.client.http import ApiClient

app = App(name="accounts", help="Accounts and disabled commands of an instance.")

_DEFAULT = "default"

Name = Annotated[str, Parameter(help="Name of the account.")]
Role = Literal["read", "write"]
FromStdin = Annotated[bool, Parameter(negative="", help="Read the password from standard input.")]


@app.default
def show_all(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List the accounts of an instance and the commands that are disabled on it.

    Example: cachewright instances accounts cache
    """
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}"
    body = server.ask("GET", f"{path}/accounts")
    disabled = server.ask("GET", f"{path}/rename-commands")["rename_commands"]
    if json:
        print_json({**body, "disabled_commands": disabled})
        return
    rows = [(one["account_name"], one["account_role"], one["status"], one["description"]) for one in body["accounts"]]
    print_table(("ACCOUNT", "ROLE", "STATUS", "DESCRIPTION"), rows)
    if disabled:
        print(f"Disabled commands: {', '.join(disabled)}")


@app.command
def create(
    instance: Instance,
    name: Name,
    *,
    role: Annotated[Role, Parameter(help="`read` cannot change data.")],
    description: str = "",
    password_stdin: FromStdin = False,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Create an account on all nodes of an instance.

    Example: cachewright instances accounts create cache reports --role read --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    account = {
        "account_name": name,
        "account_role": role,
        "account_password": new_password(password_stdin),
        "description": description,
    }
    answer = server.ask("POST", f"instances/{body['instance_id']}/accounts", account)
    follow(server, body["instance_id"], answer if json else f"account {name} of {body['name']}", wait, json)


@app.command
def set_password(
    instance: Instance,
    name: Name = _DEFAULT,
    *,
    no_password: Annotated[
        bool, Parameter(negative="", help="Clients need no password. For the account `default` alone.")
    ] = False,
    password_stdin: FromStdin = False,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Change the password of an account on all nodes of an instance. Open connections stay.

    Example: cachewright instances accounts set-password cache --wait
    """
    if no_password and name != _DEFAULT:
        raise UsageError(f"--no-password is for the account {_DEFAULT} alone")
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}"
    if name != _DEFAULT:
        account = _account(server, path, name)
        answer = server.ask("PUT", f"{account}/password/reset", {"new_password": new_password(password_stdin)})
    elif no_password:
        answer = server.ask("POST", f"{path}/password/reset", {"no_password_access": True})
    else:
        answer = server.ask("POST", f"{path}/password/reset", {"new_password": new_password(password_stdin)})
    if answer["code"] != "1":
        raise CommandFailed(f"{answer['message']}: try again in {answer['lock_time_left']} minutes")
    follow(server, body["instance_id"], answer if json else f"password of {name} of {body['name']}", wait, json)


@app.command
def set_role(
    instance: Instance,
    name: Name,
    role: Role,
    *,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Change the role of an account on all nodes of an instance. Open connections have the new rights.

    Example: cachewright instances accounts set-role cache reports write
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    account = _account(server, f"instances/{body['instance_id']}", name)
    answer = server.ask("PUT", f"{account}/role", {"account_role": role})
    follow(server, body["instance_id"], answer if json else f"account {name} of {body['name']}: {role}", wait, json)


@app.command
def describe(
    instance: Instance, name: Name, description: str, *, target: Target = DEFAULT_TARGET, json: AsJson = False
) -> None:
    """Change the description of an account."""
    server = ApiClient(target.account())
    path = _account(server, f"instances/{found(server, instance)['instance_id']}", name)
    answer = server.ask("PUT", path, {"description": description})
    if json:
        print_json(answer)


@app.command
def delete(
    instance: Instance, name: Name, *, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False
) -> None:
    """Delete an account from all nodes of an instance. Its connections are closed."""
    server = ApiClient(target.account())
    body = found(server, instance)
    answer = server.ask("DELETE", _account(server, f"instances/{body['instance_id']}", name))
    follow(server, body["instance_id"], answer if json else f"account {name} of {body['name']}", wait, json)


@app.command
def disable_commands(
    instance: Instance,
    *commands: Annotated[str, Parameter(help="Commands to disable. Without any, all commands are enabled.")],
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Set which commands no account of an instance may use.

    Example: cachewright instances accounts disable-commands cache keys flushall flushdb
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    renamed = {command.lower(): "" for command in commands} or {"keys": "keys"}
    answer = server.ask("PUT", f"instances/{body['instance_id']}", {"rename_commands": renamed})
    result = f"{body['name']}: disabled {', '.join(commands) or 'no command'}"
    follow(server, body["instance_id"], answer if json else result, wait, json)


def _account(server: ApiClient, path: str, name: str) -> str:
    """Return the path of an account. CommandFailed if the instance has no such account."""
    listed: list[dict[str, Any]] = server.ask("GET", f"{path}/accounts")["accounts"]
    for account in listed:
        if account["account_name"] == name and name != _DEFAULT:
            return f"{path}/accounts/{account['account_id']}"
    raise CommandFailed(f"there is no account {name!r} that can be changed")
