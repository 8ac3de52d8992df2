"""The IP whitelist of an instance: the addresses from which clients may connect."""

import ipaddress

import msgspec
from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.requests import refused
from cachewright.api.routes.parameters import Body, Call, Connections, InstanceId, Instances, endpoint
from cachewright.api.schemas import whitelists as schemas
from cachewright.api.schemas.plans import JobId
from cachewright.api.texts import require_line
from cachewright.model.instances import WHITELIST, WHITELIST_ENABLED
from cachewright.services.instance_attributes import AttributeChange

_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"


@get(_INSTANCE + "/whitelist", opt=needs("dcs:instance:getConfiguration"))
@endpoint
def show_ip_whitelist(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.Whitelist]:
    """ShowIpWhitelist: the groups of addresses, and whether connections from others are refused."""
    return responses.json(schemas.whitelist(instances.get(requests.principal(request), instance_id)))


@put(_INSTANCE + "/whitelist", status_code=204, opt=needs("dcs:instance:modify"))
@endpoint
def update_ip_whitelist(
    request: Call, client_access: Connections, instance_id: InstanceId, body: Body[schemas.WhitelistBody]
) -> Response[None]:
    """UpdateIpWhitelist: stores groups of addresses, and starts a background task that enforces them. Open connections
    are closed. It needs HAProxy, or for a cluster the option `--nftables` of the server."""
    principal = requests.principal(request)
    client_access.require(principal, instance_id)
    wanted = body.read()
    client_access.store_whitelist(principal, instance_id, _change(wanted), filters=_filters(wanted))
    return responses.no_content()


@put(_INSTANCE + "/whitelist-async", status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_ip_whitelist_async(
    request: Call, client_access: Connections, instance_id: InstanceId, body: Body[schemas.WhitelistBody]
) -> Response[JobId]:
    """UpdateIpWhitelistAsync: like UpdateIpWhitelist, and returns the id of the background task."""
    principal = requests.principal(request)
    client_access.require(principal, instance_id)
    wanted = body.read()
    task = client_access.change_whitelist(principal, instance_id, _change(wanted), filters=_filters(wanted))
    return responses.json(JobId(task.id))


def _filters(wanted: schemas.WhitelistBody) -> bool:
    """Whether clients may connect from some addresses only. An empty whitelist allows all, as on the cloud."""
    return wanted.enable_whitelist and any(group.ip_list for group in wanted.whitelist)


def _change(wanted: schemas.WhitelistBody) -> AttributeChange:
    """Raises ApiError DCS.4062 if the whitelist is not valid."""
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
    return AttributeChange(
        attributes={WHITELIST: msgspec.to_builtins(wanted.whitelist), WHITELIST_ENABLED: wanted.enable_whitelist}
    )


def _require_network(address: str) -> None:
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError as error:
        raise refused("whitelist", "an address is neither an IP address nor a range a.b.c.d/n") from error
    has_mask = "." in address.partition("/")[2]  # programs read masks differently
    if network.network_address.is_unspecified or "%" in address or has_mask:
        raise refused("whitelist", f"{network} is not accepted")
