"""Lists of things that cannot be made here: log files, key analyses.

The operations that would make them are refused. The lists are served, because "none" is the true answer: a 404 would
tell a client that the instance or the operation does not exist.
"""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, InstanceId, Instances, Query, endpoint
from cachewright.api.schemas import empty_lists as schemas
from cachewright.api.schemas.paging import PageQuery

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_READ = needs("dcs:instance:get")


@get(_INSTANCES + "/redislog", opt=_READ)
@endpoint
def list_redislog(
    request: Call, instances: Instances, instance_id: InstanceId, wanted: Query[PageQuery]
) -> Response[schemas.LogFiles]:
    """ListRedislog: always empty."""
    _require_page_of(request, instances, instance_id, wanted)
    return responses.json(schemas.LogFiles())


@get(_INSTANCES + "/offline/key-analysis", opt=_READ)
@endpoint
def list_offline_key_analysis_task(
    request: Call, instances: Instances, instance_id: InstanceId, wanted: Query[PageQuery]
) -> Response[schemas.AnalysisRecords]:
    """ListOfflineKeyAnalysisTask: always empty."""
    return responses.json(schemas.AnalysisRecords(_require_page_of(request, instances, instance_id, wanted)))


def _require_page_of(request: Call, instances: Instances, instance_id: str, wanted: Query[PageQuery]) -> str:
    """Return the id of the instance. Raises ApiError DCS.3022, or DCS.4062 for an invalid page."""
    wanted.read()
    return instances.get(requests.principal(request), instance_id).id
