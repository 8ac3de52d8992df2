"""Templates: named values of parameters, for new instances."""

import msgspec


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar project_id: None for a template of the system, which is in every project and cannot be changed.
    :ivar cache_mode: type of instances that it is for, as `engine_version`.
    :ivar parameters: values that differ from the defaults, by the name of the parameter.
    """

    id: str
    project_id: str | None
    name: str
    description: str
    engine_version: str
    cache_mode: str
    parameters: dict[str, str]
    created_at: int
    updated_at: int
