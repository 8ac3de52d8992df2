"""Instances by id or name."""

import re
from typing import Annotated, Any

from cyclopts import Parameter

from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ALL = 1000

Instance = Annotated[str, Parameter(help="Id or name of the instance.")]


def found(server: ApiClient, instance: str) -> Any:
    """Look up an instance by id, or by name. CommandFailed if no instance or several have the name."""
    if _UUID.fullmatch(instance):
        return server.ask("GET", f"instances/{instance}")
    named = server.ask("GET", "instances", name=instance, name_equal="true", limit=_ALL, include_failure="true")
    ids = [item["instance_id"] for item in named["instances"]]
    if len(ids) != 1:
        many = f"{len(ids)} instances have the name {instance!r}; use an id: {', '.join(ids)}"
        raise CommandFailed(many if ids else f"there is no instance {instance!r}")
    return server.ask("GET", f"instances/{ids[0]}")
