"""`cachewright instances tls`, `certificate` and `whitelist`: how clients connect to an instance."""

import asyncio
import io
import zipfile
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_pairs
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import UsageError
from cachewright.client.http import ApiClient

_GROUP = "cachewright"


def tls(
    instance: Instance,
    switch: Annotated[Literal["on", "off"] | None, Parameter(help="Omit it to show the current state.")] = None,
    *,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Show whether clients connect with TLS, or switch it. Open connections are closed; nodes of clusters restart.

    Example: cachewright instances tls sessions on --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}/ssl"
    if switch is None:
        detail = server.ask("GET", path)
        if json:
            print_json(detail)
        else:
            print_pairs([("tls", "on" if detail["enabled"] else "off"), ("valid until", detail["ssl_expired_at"])])
        return
    answer = server.ask("PUT", path, {"enabled": switch == "on"})
    follow(server, body["instance_id"], answer if json else f"TLS of {body['name']} is switched {switch}", wait, json)


def certificate(instance: Instance, *, target: Target = DEFAULT_TARGET) -> None:
    """Print the certificate with which clients verify an instance (PEM).

    Example: cachewright instances certificate sessions > ca.crt
    """
    server = ApiClient(target.account())
    told = server.ask("POST", f"instances/{found(server, instance)['instance_id']}/ssl-certs/download")
    with zipfile.ZipFile(io.BytesIO(asyncio.run(server.download(told["link"])))) as archive:
        print(archive.read(archive.namelist()[0]).decode(), end="")


def whitelist(
    instance: Instance,
    *,
    allow: Annotated[
        tuple[str, ...], Parameter(negative="", help="Address or network of clients. May be repeated.")
    ] = (),
    off: Annotated[bool, Parameter(negative="", help="Accept clients from all addresses.")] = False,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Show the addresses from which clients may connect, or replace them. Open connections are closed.

    Example: cachewright instances whitelist sessions --allow 10.0.0.0/24 --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instance/{body['instance_id']}/whitelist"
    if allow and off:
        raise UsageError("name addresses or --off, not both")
    if not allow and not off:
        _show(server.ask("GET", path), json)
        return
    groups = [{"group_name": _GROUP, "ip_list": allow}] if allow else []
    answer = server.ask("PUT", f"{path}-async", {"enable_whitelist": bool(allow), "whitelist": groups})
    follow(server, body["instance_id"], answer if json else f"whitelist of {body['name']}", wait, json)


def _show(shown: Any, json: bool) -> None:
    if json:
        print_json(shown)
        return
    print_pairs([("whitelist", "on" if shown["enable_whitelist"] else "off")])
    print_pairs([(group["group_name"], ", ".join(group["ip_list"])) for group in shown["whitelist"]])
