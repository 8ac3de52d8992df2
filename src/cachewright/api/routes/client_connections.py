"""Connections of clients to an instance: TLS, and client addresses behind a proxy. Both are off and cannot be enabled.

To disable what is off is accepted: the cloud's clients send it, and wait for its job.
"""

from litestar import Response, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, InstanceId, Instances, Tasks, endpoint
from cachewright.api.schemas import client_connections as schemas
from cachewright.api.schemas.plans import JobId
from cachewright.errors import ApiError
from cachewright.operations.confirm import CONFIRM_CLIENT_ADDRESSES, CONFIRM_NO_TLS

_NO_TLS = "clients connect to caches without TLS"
_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/ssl", opt=needs("dcs:instance:get"))
@endpoint
def show_instance_ssl_detail(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.TlsDetail]:
    """ShowInstanceSslDetail: always off."""
    return responses.json(schemas.tls_detail(instances.get(requests.principal(request), instance_id)))


@put(_INSTANCE + "/ssl", status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_ssl_switch(
    request: Call, tasks: Tasks, instances: Instances, instance_id: InstanceId, body: Body[schemas.TlsSwitchBody]
) -> Response[schemas.TlsSwitched]:
    """UpdateSslSwitch: starts a background task that confirms that TLS is off. It cannot be enabled."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    if body.read().enabled:
        raise ApiError(errors.INVALID_ENABLE_SSL, reason=_NO_TLS)
    task = tasks.submit(CONFIRM_NO_TLS, principal, instance_id, None)
    return responses.json(schemas.TlsSwitched(task.id, task.instance_id))


@post(_INSTANCE + "/ssl-certs/download", status_code=200, opt=needs("dcs:instance:get"))
@endpoint
def download_ssl_cert(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.Certificate]:
    """DownloadSslCert: refused, because no instance has a certificate for clients."""
    instances.get(requests.principal(request), instance_id)
    raise ApiError(errors.INVALID_ENABLE_SSL, reason=_NO_TLS)


@put(
    "/v2/{project_id:str}/{instance_id:str}/client-ip-transparent-transmission",
    status_code=200,
    opt=needs("dcs:instance:modify"),
)
@endpoint
def update_client_ip_transparent_transmission(
    request: Call, tasks: Tasks, instances: Instances, instance_id: InstanceId, body: Body[schemas.ClientAddressesBody]
) -> Response[JobId]:
    """UpdateClientIpTransparentTransmission: starts a background task that confirms that it is off. It cannot be
    enabled: Valkey does not support the PROXY protocol."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    if body.read().transparent_client_ip_enable:
        raise ApiError(errors.CLIENT_ADDRESSES_UNSUPPORTED)
    return responses.json(JobId(tasks.submit(CONFIRM_CLIENT_ADDRESSES, principal, instance_id, None).id))
