"""The IP whitelist of an instance. It is off and cannot be enabled; its groups are stored."""

import ipaddress

import msgspec
from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.requests import refused
from cachewright.api.routes.parameters import Attributes, Body, Call, InstanceId, Instances, Tasks, endpoint
from cachewright.api.schemas import whitelists as schemas
from cachewright.api.schemas.plans import JobId
from cachewright.api.texts import require_line
from cachewright.operations.confirm import CONFIRM_NO_WHITELIST
from cachewright.services.instance_attributes import AttributeChange

_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"


@get(_INSTANCE + "/whitelist", opt=needs("dcs:instance:getConfiguration"))
@endpoint
def show_ip_whitelist(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.Whitelist]:
    """ShowIpWhitelist: always off."""
    return responses.json(schemas.whitelist(instances.get(requests.principal(request), instance_id)))


@put(_INSTANCE + "/whitelist", status_code=204, opt=needs("dcs:instance:modify"))
@endpoint
def update_ip_whitelist(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.WhitelistBody],
) -> Response[None]:
    """UpdateIpWhitelist: stores groups of addresses. The whitelist stays off."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    change = _change(body.read())
    attributes.change(principal, instance_id, lambda _: change)
    return responses.no_content()


@put(_INSTANCE + "/whitelist-async", status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_ip_whitelist_async(
    request: Call, tasks: Tasks, instances: Instances, instance_id: InstanceId, body: Body[schemas.WhitelistBody]
) -> Response[JobId]:
    """UpdateIpWhitelistAsync: like UpdateIpWhitelist, with a background task that confirms that it is off."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    change = _change(body.read())
    return responses.json(JobId(tasks.submit(CONFIRM_NO_WHITELIST, principal, instance_id, None, lambda _: change).id))


def _change(wanted: schemas.WhitelistBody) -> AttributeChange:
    """Raises ApiError DCS.4062 if the whitelist would be enabled or is not valid."""
    if wanted.enable_whitelist:
        raise refused("enable_whitelist", "connections are not filtered by address; only false is accepted")
    addresses = [address for group in wanted.whitelist for address in group.ip_list]
    if len(addresses) > schemas.MOST_ADDRESSES:
        raise refused("whitelist", f"it has more than {schemas.MOST_ADDRESSES} addresses")
    names = {group.group_name for group in wanted.whitelist}
    if len(names) < len(wanted.whitelist):
        raise refused("whitelist", "a group is there twice")
    for name in names:
        require_line("whitelist.group_name", name)
    for address in addresses:
        _require_network(address)
    return AttributeChange(attributes={schemas.ATTRIBUTE: msgspec.to_builtins(wanted.whitelist)})


def _require_network(address: str) -> None:
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError as error:
        raise refused("whitelist", "an address is neither an IP address nor a range a.b.c.d/n") from error
    if network.network_address.is_unspecified:
        raise refused("whitelist", f"{network} is not accepted")
