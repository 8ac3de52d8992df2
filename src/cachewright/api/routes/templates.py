"""Templates of parameters, for new instances."""

from litestar import Response, delete, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, Query, TemplateId, Templates, endpoint
from cachewright.api.schemas import templates as schemas
from cachewright.api.texts import require_line
from cachewright.api.validation import template_values
from cachewright.errors import ApiError
from cachewright.services.templates import NewTemplate, TemplateChange

_TEMPLATES = "/v2/{project_id:str}/config-templates"
_TEMPLATE = _TEMPLATES + "/{template_id:str}"


@get(_TEMPLATES, opt=needs("dcs:template:list"))
@endpoint
def list_config_templates(
    request: Call, templates: Templates, wanted: Query[schemas.TemplatesQuery]
) -> Response[schemas.TemplateList]:
    """ListConfigTemplates: templates of the project, newest first, then those of the system."""
    query = wanted.read()
    found = [template for template in templates.all(requests.principal(request)) if schemas.matches(template, query)]
    page = found[query.offset : query.offset + query.limit]
    return responses.json(schemas.TemplateList(len(found), [schemas.listed(template) for template in page]))


@get(_TEMPLATE, opt=needs("dcs:template:list"))
@endpoint
def show_config_template(
    request: Call, templates: Templates, template_id: TemplateId, wanted: Query[schemas.TemplateQuery]
) -> Response[schemas.ShownTemplate]:
    """ShowConfigTemplate: a template with the values of all parameters."""
    query = wanted.read()
    template = templates.get(requests.principal(request), template_id)
    if query.type not in {None, schemas.type_of(template)}:
        raise ApiError(errors.TEMPLATE_NOT_FOUND)
    return responses.json(schemas.shown(template))


@post(_TEMPLATES, status_code=200, opt=needs("dcs:template:modify"))
@endpoint
def create_custom_template(
    request: Call, templates: Templates, body: Body[schemas.CreateTemplateBody]
) -> Response[schemas.CreatedTemplate]:
    """CreateCustomTemplate: copies a template, with other values of some parameters."""
    wanted = body.read()
    if wanted.engine.lower() != "redis":
        raise requests.refused("engine", "it is not Redis")
    require_line("description", wanted.description)
    new = NewTemplate(
        name=wanted.name,
        description=wanted.description,
        source=wanted.source,
        parameters=template_values(wanted.params),
    )
    return responses.json(schemas.CreatedTemplate(templates.create(requests.principal(request), new).id))


@put(_TEMPLATE, status_code=200, opt=needs("dcs:template:modify"))
@endpoint
def update_config_template(
    request: Call, templates: Templates, template_id: TemplateId, body: Body[schemas.UpdateTemplateBody]
) -> Response[schemas.TemplateResult]:
    """UpdateConfigTemplate: changes a template of the project. Instances that exist do not change."""
    principal = requests.principal(request)
    templates.get(principal, template_id)
    wanted = body.read()
    require_line("description", wanted.description)
    change = TemplateChange(name=wanted.name, description=wanted.description, parameters=template_values(wanted.params))
    templates.change(principal, template_id, change)
    return responses.json(schemas.TemplateResult())


@delete(_TEMPLATE, status_code=200, opt=needs("dcs:template:modify"))
@endpoint
def delete_config_template(
    request: Call, templates: Templates, template_id: TemplateId
) -> Response[schemas.TemplateResult]:
    """DeleteConfigTemplate: instances that were created with the template keep their parameters."""
    templates.delete(requests.principal(request), template_id)
    return responses.json(schemas.TemplateResult())
