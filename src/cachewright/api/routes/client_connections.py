"""Connections of clients to an instance: TLS, and client addresses behind a proxy."""

import io
import zipfile

from litestar import Response, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import (
    Body,
    Call,
    Connections,
    InstanceId,
    Instances,
    ServerSettings,
    Tasks,
    endpoint,
)
from cachewright.api.schemas import client_connections as schemas
from cachewright.api.schemas.plans import JobId
from cachewright.errors import ApiError
from cachewright.operations.confirm import CONFIRM_CLIENT_ADDRESSES

AUTHORITY_PATH = "/certificates/ca.zip"
_CERTIFICATE = "ca.crt"
_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/ssl", opt=needs("dcs:instance:get"))
@endpoint
def show_instance_ssl_detail(
    request: Call, client_access: Connections, instance_id: InstanceId
) -> Response[schemas.TlsDetail]:
    """ShowInstanceSslDetail: whether clients connect with TLS, and how long their certificate is valid."""
    instance, expires_at = client_access.certificate_expires_at(requests.principal(request), instance_id)
    return responses.json(schemas.tls_detail(instance, expires_at))


@put(_INSTANCE + "/ssl", status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_ssl_switch(
    request: Call, client_access: Connections, instance_id: InstanceId, body: Body[schemas.TlsSwitchBody]
) -> Response[schemas.TlsSwitched]:
    """UpdateSslSwitch: starts a background task that lets clients connect with TLS only, or without it. Open
    connections are closed. A cluster needs a valkey-server with TLS, and its nodes restart one after another. Other
    instances need HAProxy."""
    principal = requests.principal(request)
    client_access.require(principal, instance_id)
    task = client_access.switch_tls(principal, instance_id, enabled=body.read().enabled)
    return responses.json(schemas.TlsSwitched(task.id, task.instance_id))


@post(_INSTANCE + "/ssl-certs/download", status_code=200, opt=needs("dcs:instance:get"))
@endpoint
def download_ssl_cert(
    request: Call, client_access: Connections, settings: ServerSettings, instance_id: InstanceId
) -> Response[schemas.Certificate]:
    """DownloadSslCert: a link to the certificate by which clients verify the instance. It is the same for all instances
    and needs no authentication. `bucket_name` is empty, because the file is in no bucket."""
    client_access.require_tls(requests.principal(request), instance_id)
    link = public_url(request.scope, settings.public_url) + AUTHORITY_PATH
    return responses.json(schemas.Certificate(AUTHORITY_PATH.rpartition("/")[2], link, ""))


@get(AUTHORITY_PATH, opt=OPEN)
@endpoint
def show_authority(request: Call, client_access: Connections) -> Response[bytes]:
    """The file of DownloadSslCert."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(_CERTIFICATE, client_access.authority())
    return Response(packed.getvalue(), media_type="application/zip")


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
