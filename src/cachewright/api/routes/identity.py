"""What clients ask of IAM v3: a token for a password, and which project is theirs."""

import sqlalchemy as sa
from litestar import Response, delete, get, post

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.authorization import origin
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import Body, Call, Desk, Plane, Query, in_thread, reading
from cachewright.api.schemas import identity as schemas
from cachewright.api.schemas.flavors import ZONE
from cachewright.errors import ApiError
from cachewright.services.instances import InstanceService
from cachewright.services.tokens import Issued
from cachewright.store import users

_TOKENS = "/v3/auth/tokens"
_SUBJECT = "x-subject-token"
_ABOUT_ONESELF = needs("iam:identity:get")


@post(_TOKENS, status_code=201, opt=OPEN)
@reading
async def create_token(
    request: Call, desk: Desk, plane: Plane, body: Body[schemas.TokenBody]
) -> Response[schemas.TokenAnswer]:
    """KeystoneCreateUserTokenByPassword: a token for a name and a password, good for 24 hours and for one project."""
    auth = body.read().auth
    user = auth.identity.password.user
    issued = await desk.sign_in(user.name, user.password, auth.known(), origin(request.scope))
    return _answer(request, plane, issued, 201)


@get(_TOKENS, opt=_ABOUT_ONESELF)
@in_thread
def show_token(request: Call, desk: Desk, plane: Plane) -> Response[schemas.TokenAnswer]:
    """KeystoneValidateToken: what the caller's own token in X-Subject-Token is good for."""
    return _answer(request, plane, desk.look_up(_subject(request), requests.identity(request).user_id), 200)


@delete(_TOKENS, status_code=204, opt=needs("iam:token:revoke"))
@in_thread
def delete_token(request: Call, desk: Desk) -> Response[None]:
    """Revokes the caller's own token in X-Subject-Token."""
    desk.revoke(_subject(request), requests.identity(request).user_id)
    return responses.no_content()


@get("/v3/projects", opt=_ABOUT_ONESELF)
@in_thread
def list_projects(request: Call, plane: Plane, wanted: Query[schemas.NameQuery]) -> Response[schemas.ProjectList]:
    """KeystoneListProjects: those where the caller has a role. SDKs find the project of a region by its name."""
    with plane.database.read() as connection:
        return _projects(connection, request, plane, wanted.read().name)


@get("/v3/auth/projects", opt=_ABOUT_ONESELF)
@in_thread
def list_own_projects(request: Call, plane: Plane) -> Response[schemas.ProjectList]:
    """KeystoneListAuthProjects."""
    with plane.database.read() as connection:
        return _projects(connection, request, plane, None)


@get("/v3/auth/domains", opt=_ABOUT_ONESELF)
@in_thread
def list_domains(request: Call, plane: Plane) -> Response[schemas.DomainList]:
    """KeystoneListAuthDomains: the account."""
    root = _root(request, plane)
    domain = schemas.ShownDomain(links=schemas.SelfLink(f"{root}/v3/domains/{schemas.ACCOUNT_ID}"))
    return responses.json(schemas.DomainList(_links(request, plane), [domain]))


@get("/v3/users", opt=_ABOUT_ONESELF)
@in_thread
def list_users(request: Call, plane: Plane, wanted: Query[schemas.NameQuery]) -> Response[schemas.UserList]:
    """KeystoneListUsers: the caller."""
    with plane.database.read() as connection:
        found = users.get(connection, requests.identity(request).user_id)
    name = wanted.read().name
    shown = [schemas.shown_user(found, _root(request, plane))] if found and name in {None, found.name} else []
    return responses.json(schemas.UserList(_links(request, plane), shown))


@get("/v3/regions", opt=_ABOUT_ONESELF)
@in_thread
def list_regions(request: Call, plane: Plane) -> Response[schemas.RegionList]:
    """KeystoneListRegions: one."""
    region = schemas.ShownRegion(links=schemas.SelfLink(f"{_root(request, plane)}/v3/regions/{ZONE}"))
    return responses.json(schemas.RegionList(_links(request, plane), [region]))


def _projects(
    connection: sa.Connection, request: Call, plane: InstanceService, name: str | None
) -> Response[schemas.ProjectList]:
    mine = users.projects_of(connection, requests.identity(request).user_id)
    shown = [schemas.shown_project(project, _root(request, plane)) for project in mine if name in {None, project.name}]
    return responses.json(schemas.ProjectList(_links(request, plane), shown))


def _answer(request: Call, plane: InstanceService, issued: Issued, status: int) -> Response[schemas.TokenAnswer]:
    answer = responses.json(schemas.shown_token(issued, _root(request, plane)))
    answer.status_code = status
    answer.headers[_SUBJECT] = issued.text
    return answer


def _subject(request: Call) -> str:
    """ApiError DCS.4062 where no token is named."""
    token = request.headers.get(_SUBJECT)
    if not token:
        raise ApiError(errors.INVALID_PARAMETER, parameter="X-Subject-Token", reason="it is missing")
    return token.strip()


def _links(request: Call, plane: InstanceService) -> schemas.Links:
    return schemas.Links(f"{_root(request, plane)}{request.scope['path']}")


def _root(request: Call, plane: InstanceService) -> str:
    return public_url(request.scope, plane.settings.public_url)
