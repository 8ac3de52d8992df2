"""Shapes of parameters and their history. Types follow the SDK's models."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.model.instances import Instance
from cachewright.model.tasks import UNFINISHED, Task, TaskStatus
from cachewright.valkey.parameters import PARAMETERS, deviations, real_values, values

_Text = Annotated[str, msgspec.Meta(max_length=256)]


class ChangedItem(msgspec.Struct, frozen=True):
    param_id: _Text
    param_name: _Text
    param_value: _Text


class UpdateConfigBody(msgspec.Struct, frozen=True):
    """Parameters to change, with the ids and names of ListConfigurations. Other parameters keep their values."""

    redis_config: Annotated[list[ChangedItem], msgspec.Meta(min_length=1, max_length=len(PARAMETERS))]


class ConfigItem(msgspec.Struct, frozen=True, kw_only=True):
    param_id: str
    param_name: str
    param_value: str
    default_value: str
    value_range: str
    value_type: str
    description: str
    need_restart: bool


class Deviation(msgspec.Struct, frozen=True):
    """A value of a node that is not the recorded one."""

    node_id: str
    param_name: str
    param_value: str


class Configurations(msgspec.Struct, frozen=True, kw_only=True):
    """`config_time` is the time of the nodes' configuration, `config_status` the result of its last change. `status` is
    the status of the instance.

    `deviations` is an extension: nodes with other values than recorded. They are corrected within a minute, those that
    need a restart at the next start of the node."""

    instance_id: str
    config_time: str | None
    config_status: Literal["UPDATING", "SUCCESS", "FAILURE"]
    status: str
    redis_config: list[ConfigItem]
    deviations: list[Deviation]


_CONFIG_STATUS: Mapping[TaskStatus, Literal["UPDATING", "SUCCESS", "FAILURE"]] = {
    "WAITING": "UPDATING",
    "EXECUTING": "UPDATING",
    "SUCCESS": "SUCCESS",
    "FAILED": "FAILURE",
}


def configurations(instance: Instance, found: Mapping[str, Mapping[str, str]], last: Task | None) -> Configurations:
    """Return the present parameters. If a node's value differs from the stored one, show the node's.

    :param found: values of the nodes that answer, by node id.
    :param last: the last change.
    """
    recorded = values(instance.parameters)
    present = real_values(found.values(), recorded)
    changed_at = last.end_time if last and last.status == "SUCCESS" else None
    return Configurations(
        instance_id=instance.id,
        config_time=iso(changed_at or instance.launched_at),
        config_status=_CONFIG_STATUS[last.status] if last else "SUCCESS",
        status=instance.status,
        redis_config=config_items(present),
        deviations=[
            Deviation(node_id, name, of_node.get(name, ""))
            for node_id, of_node in found.items()
            for name in deviations(of_node, recorded)
        ],
    )


def config_items(present: Mapping[str, str]) -> list[ConfigItem]:
    """Return all parameters with these values, by name."""
    return [
        ConfigItem(
            param_id=parameter.id,
            param_name=parameter.name,
            param_value=present[parameter.name],
            default_value=parameter.default,
            value_range=parameter.range,
            value_type=parameter.kind,
            description=parameter.description,
            need_restart=parameter.need_restart,
        )
        for parameter in PARAMETERS
    ]


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of parameters."""

    history_id: str
    type: Literal["config_param"] = "config_param"
    created_at: str | None
    status: Literal["SUCCESS", "FAILURE", "EXECUTING"]


class HistoryList(msgspec.Struct, frozen=True):
    history_num: int
    histories: list[HistoryItem]


class HistoryChange(msgspec.Struct, frozen=True, kw_only=True):
    param_id: str
    param_name: str
    old_value: str
    new_value: str


class HistoryDetail(HistoryItem, frozen=True, kw_only=True):
    """A change of parameters with its values. Members that the list does not have are extensions."""

    user_name: str
    error_code: str | None
    message: str
    redis_config: list[HistoryChange]


def history_item(task: Task) -> HistoryItem:
    return HistoryItem(**_history(task))


def history_detail(task: Task) -> HistoryDetail:
    return HistoryDetail(
        user_name=task.user_name,
        error_code=task.error_code,
        message=task.message,
        redis_config=msgspec.convert(task.params["redis_config"], list[HistoryChange]),
        **_history(task),
    )


def _history(task: Task) -> dict[str, Any]:
    status = "EXECUTING" if task.status in UNFINISHED else "SUCCESS" if task.status == "SUCCESS" else "FAILURE"
    return {"history_id": task.id, "created_at": iso(task.created_at), "status": status}
