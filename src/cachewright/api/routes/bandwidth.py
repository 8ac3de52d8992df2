"""The policy by which an instance gets more bandwidth.

Bandwidth is not limited here. A policy is stored and returned, because clients such as terraform compare it with what
they have sent. It has no effect.
"""

from litestar import Response, delete, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Attributes, Body, Call, InstanceId, Instances, endpoint
from cachewright.api.schemas import bandwidth as schemas
from cachewright.services.instance_attributes import AttributeChange

_POLICY = "/v2/{project_id:str}/instances/{instance_id:str}/autoscaling-policy/bandwidth"


@get(_POLICY, opt=needs("dcs:instance:getConfiguration"))
@endpoint
def show_instance_bandwidth_auto_scaling_policy(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.BandwidthPolicy]:
    """ShowInstanceBandwidthAutoScalingPolicy: the stored policy, or an empty object."""
    return responses.json(schemas.policy(instances.get(requests.principal(request), instance_id)))


@put(_POLICY, status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_instance_bandwidth_auto_scaling_policy(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.BandwidthPolicyBody],
) -> Response[schemas.BandwidthPolicy]:
    """UpdateInstanceBandwidthAutoScalingPolicy: stores a policy. Bandwidth has no limit, so it has no effect."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    changed = AttributeChange(attributes={schemas.ATTRIBUTE: schemas.stored(body.read())})
    attributes.change(principal, instance_id, lambda _: changed)
    return responses.json(schemas.policy(instances.get(principal, instance_id)))


@delete(_POLICY, status_code=204, opt=needs("dcs:instance:modify"))
@endpoint
def delete_instance_bandwidth_auto_scaling_policy(
    request: Call, attributes: Attributes, instance_id: InstanceId
) -> Response[None]:
    """DeleteInstanceBandwidthAutoScalingPolicy: deletes the policy, if there is one."""
    removed = AttributeChange(attributes={schemas.ATTRIBUTE: None})
    attributes.change(requests.principal(request), instance_id, lambda _: removed)
    return responses.no_content()
