"""Operations of IAM v3 that clients need: tokens for passwords, and look-up of projects."""

from collections.abc import Sequence

from litestar import Response, delete, get, post

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.authorization import origin
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import Body, Call, Query, ServerSettings, Tokens, Users, endpoint
from cachewright.api.schemas import identity as schemas
from cachewright.api.schemas.flavors import ZONE
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.model.identity import Project
from cachewright.services.tokens import Issued

_TOKENS = "/v3/auth/tokens"
_SUBJECT = "x-subject-token"
_ABOUT_ONESELF = needs("iam:identity:get")


@post(_TOKENS, status_code=201, opt=OPEN)
@endpoint
async def create_token(
    request: Call, tokens: Tokens, settings: ServerSettings, body: Body[schemas.TokenBody]
) -> Response[schemas.TokenAnswer]:
    """KeystoneCreateUserTokenByPassword: a token for name and password, valid for 24 hours and one project."""
    auth = body.read().auth
    user = auth.identity.password.user
    issued = await tokens.sign_in(user.name, user.password, auth.known(), origin(request.scope))
    return _answer(request, settings, issued, 201)


@get(_TOKENS, opt=_ABOUT_ONESELF)
@endpoint
def show_token(request: Call, tokens: Tokens, settings: ServerSettings) -> Response[schemas.TokenAnswer]:
    """KeystoneValidateToken: user, project and role of the caller's own token in X-Subject-Token."""
    return _answer(request, settings, tokens.look_up(_subject(request), requests.identity(request).user_id), 200)


@delete(_TOKENS, status_code=204, opt=needs("iam:token:revoke"))
@endpoint
def delete_token(request: Call, tokens: Tokens) -> Response[None]:
    """Revokes the caller's own token in X-Subject-Token."""
    tokens.revoke(_subject(request), requests.identity(request).user_id)
    return responses.no_content()


@get("/v3/projects", opt=_ABOUT_ONESELF)
@endpoint
def list_projects(
    request: Call, users: Users, settings: ServerSettings, wanted: Query[schemas.NameQuery]
) -> Response[schemas.ProjectList]:
    """KeystoneListProjects: projects in which the caller has a role. SDKs look up a region's project by name."""
    name = wanted.read().name
    projects = users.projects(requests.identity(request).user_id)
    return _projects(request, settings, [project for project in projects if name in {None, project.name}])


@get("/v3/auth/projects", opt=_ABOUT_ONESELF)
@endpoint
def list_own_projects(request: Call, users: Users, settings: ServerSettings) -> Response[schemas.ProjectList]:
    """KeystoneListAuthProjects: projects in which the caller has a role."""
    return _projects(request, settings, users.projects(requests.identity(request).user_id))


@get("/v3/auth/domains", opt=_ABOUT_ONESELF)
@endpoint
def list_domains(request: Call, settings: ServerSettings) -> Response[schemas.DomainList]:
    """KeystoneListAuthDomains: the only account."""
    root = _root(request, settings)
    domain = schemas.ShownDomain(links=schemas.SelfLink(f"{root}/v3/domains/{schemas.ACCOUNT_ID}"))
    return responses.json(schemas.DomainList(_links(request, settings), [domain]))


@get("/v3/users", opt=_ABOUT_ONESELF)
@endpoint
def list_users(
    request: Call, users: Users, settings: ServerSettings, wanted: Query[schemas.NameQuery]
) -> Response[schemas.UserList]:
    """KeystoneListUsers: only the caller."""
    user = users.get(requests.identity(request).user_id)
    name = wanted.read().name
    items = [schemas.shown_user(user, _root(request, settings))] if user and name in {None, user.name} else []
    return responses.json(schemas.UserList(_links(request, settings), items))


@get("/v3/regions", opt=_ABOUT_ONESELF)
@endpoint
def list_regions(request: Call, settings: ServerSettings) -> Response[schemas.RegionList]:
    """KeystoneListRegions: the only region."""
    region = schemas.ShownRegion(links=schemas.SelfLink(f"{_root(request, settings)}/v3/regions/{ZONE}"))
    return responses.json(schemas.RegionList(_links(request, settings), [region]))


def _projects(request: Call, settings: Settings, projects: Sequence[Project]) -> Response[schemas.ProjectList]:
    items = [schemas.shown_project(project, _root(request, settings)) for project in projects]
    return responses.json(schemas.ProjectList(_links(request, settings), items))


def _answer(request: Call, settings: Settings, issued: Issued, status: int) -> Response[schemas.TokenAnswer]:
    response = responses.json(schemas.shown_token(issued, _root(request, settings)))
    response.status_code = status
    response.headers[_SUBJECT] = issued.text
    return response


def _subject(request: Call) -> str:
    """Return the token in X-Subject-Token. Raises ApiError DCS.4062 if it is missing."""
    token = request.headers.get(_SUBJECT)
    if not token:
        raise ApiError(errors.INVALID_PARAMETER, parameter="X-Subject-Token", reason="it is missing")
    return token.strip()


def _links(request: Call, settings: Settings) -> schemas.Links:
    return schemas.Links(f"{_root(request, settings)}{request.scope['path']}")


def _root(request: Call, settings: Settings) -> str:
    return public_url(request.scope, settings.public_url)
