"""What can be bought."""

from typing import Any

from litestar import Request, Response, get

from cachewright.api import answers, asked
from cachewright.api.wire import flavors as wire


@get("/v2/{project_id:str}/flavors")
async def list_flavors(request: Request[Any, Any, Any]) -> Response[bytes]:
    """ListFlavors."""
    return answers.json(wire.flavor_list(asked.query(request, wire.FlavorsQuery)))
