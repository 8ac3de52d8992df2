"""Templates of parameters: those of the system, and those that a project has made."""

import uuid
from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.flavors import ENGINE_VERSIONS
from cachewright.model.identity import Principal
from cachewright.model.templates import Template
from cachewright.store import templates
from cachewright.store.database import Database
from cachewright.topologies import TOPOLOGIES

MOST_TEMPLATES = 100


class NewTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A template to create: a copy of `source`, with other values of `parameters`."""

    name: str
    description: str
    source: str
    parameters: Mapping[str, str]


class TemplateChange(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of a template. None keeps a member; parameters that are not in `parameters` keep their values."""

    name: str | None = None
    description: str | None = None
    parameters: Mapping[str, str] = {}


class TemplateService:
    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, principal: Principal) -> list[Template]:
        """Return the templates of the project, newest first, then those of the system."""
        with self._database.read() as connection:
            return [*templates.of_project(connection, principal.project_id), *SYSTEM_TEMPLATES.values()]

    def get(self, principal: Principal, template_id: str) -> Template:
        """Return a template. Raises ApiError DCS.4988."""
        with self._database.read() as connection:
            return template_of(connection, principal.project_id, template_id)

    def create(self, principal: Principal, wanted: NewTemplate) -> Template:
        """Raises ApiError DCS.4988 if the source does not exist, DCS.4039 if the project has too many."""
        now = now_ms()
        with self._database.write() as connection:
            source = template_of(connection, principal.project_id, wanted.source)
            if len(templates.of_project(connection, principal.project_id)) >= MOST_TEMPLATES:
                raise ApiError(errors.LIMIT_EXCEEDED, reason=f"a project has at most {MOST_TEMPLATES} templates")
            template = msgspec.structs.replace(
                source,
                id=uuid.uuid4().hex,
                project_id=principal.project_id,
                name=wanted.name,
                description=wanted.description,
                parameters={**source.parameters, **wanted.parameters},
                created_at=now,
                updated_at=now,
            )
            templates.add(connection, template)
        return template

    def change(self, principal: Principal, template_id: str, change: TemplateChange) -> None:
        """Raises ApiError DCS.4988, or DCS.4062 for a template of the system."""
        with self._database.write() as connection:
            template = _own_template(connection, principal.project_id, template_id)
            templates.change(
                connection,
                template.id,
                name=template.name if change.name is None else change.name,
                description=template.description if change.description is None else change.description,
                parameters={**template.parameters, **change.parameters},
                updated_at=now_ms(),
            )

    def delete(self, principal: Principal, template_id: str) -> None:
        """Instances that were created with the template keep their parameters. Raises ApiError like `change`."""
        with self._database.write() as connection:
            templates.remove(connection, _own_template(connection, principal.project_id, template_id).id)


def template_of(connection: sa.Connection, project_id: str, template_id: str) -> Template:
    """Return a template of the project or of the system. Raises ApiError DCS.4988."""
    template = SYSTEM_TEMPLATES.get(template_id) or templates.get(connection, project_id, template_id)
    if template is None:
        raise ApiError(errors.TEMPLATE_NOT_FOUND)
    return template


def _own_template(connection: sa.Connection, project_id: str, template_id: str) -> Template:
    template = template_of(connection, project_id, template_id)
    if template.project_id is None:
        reason = "it is a template of the system; create one of your own from it"
        raise ApiError(errors.INVALID_PARAMETER, parameter="template_id", reason=reason)
    return template


def system_template_id(engine_version: str, cache_mode: str) -> str:
    return f"redis-{engine_version}-{cache_mode}"


def _system_template(engine_version: str, cache_mode: str) -> Template:
    return Template(
        id=system_template_id(engine_version, cache_mode),
        project_id=None,
        name=f"Default-Redis-{engine_version}-{cache_mode}",
        description=f"Default parameters of Redis {engine_version} instances of type {cache_mode}",
        engine_version=engine_version,
        cache_mode=cache_mode,
        parameters={},
        created_at=0,
        updated_at=0,
    )


SYSTEM_TEMPLATES: Mapping[str, Template] = {
    system_template_id(version, mode): _system_template(version, mode)
    for version in ENGINE_VERSIONS
    for mode in TOPOLOGIES
}
"""By id. They have the defaults of all parameters."""
