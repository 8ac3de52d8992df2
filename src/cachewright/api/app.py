"""The ASGI application: routes of the contract behind the gate that checks every request."""

from collections.abc import Callable
from datetime import datetime

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp

from cachewright.api.answers import EXCEPTION_HANDLERS
from cachewright.api.auth.gate import Gate, utc_now
from cachewright.api.routes import control, flavors, instances, plans, tasks
from cachewright.operations.plane import ControlPlane
from cachewright.store import keys
from cachewright.store.records import AccessKey


def create_app(plane: ControlPlane, now: Callable[[], datetime] = utc_now) -> ASGIApp:
    """What granian serves. `now` is the clock that signatures are checked by."""

    def find_key(access_key: str) -> AccessKey | None:
        with plane.database.read() as connection:
            return keys.get(connection, access_key)

    def provide_plane() -> ControlPlane:
        return plane

    app = Litestar(
        route_handlers=[
            instances.create_instance,
            instances.list_instances,
            instances.show_instance,
            instances.resize_instance,
            instances.delete_single_instance,
            tasks.list_background_task,
            tasks.show_background_task_progress,
            tasks.delete_background_task,
            control.show_task,
            control.control_task,
            control.cancel_task,
            control.retry_task,
            plans.plan_resize,
            plans.start_instance_resize_check_job,
            plans.show_job_info,
            flavors.list_flavors,
        ],
        dependencies={"plane": Provide(provide_plane, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # the gate has read the body, and has its own limit
    )
    return Gate(app, find_key, now)
