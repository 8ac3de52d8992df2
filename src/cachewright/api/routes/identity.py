"""What clients ask of IAM v3: a token for a password, and which project is theirs."""

import sqlalchemy as sa
from litestar import Response, delete, get, post

from cachewright.api import answers, asked
from cachewright.api.auth.guard import origin
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import Body, Call, Desk, Plane, Query, in_thread, reading
from cachewright.api.wire import identity as wire
from cachewright.api.wire.flavors import ZONE
from cachewright.errors import Refusal
from cachewright.operations.plane import ControlPlane
from cachewright.operations.sign_in import Issued
from cachewright.store import users

_TOKENS = "/v3/auth/tokens"
_SUBJECT = "x-subject-token"
_ABOUT_ONESELF = needs("iam:identity:get")


@post(_TOKENS, status_code=201, opt=OPEN)
@reading
async def create_token(
    request: Call, desk: Desk, plane: Plane, body: Body[wire.TokenBody]
) -> Response[wire.TokenAnswer]:
    """KeystoneCreateUserTokenByPassword: a token for a name and a password, good for 24 hours and for one project."""
    auth = body.read().auth
    user = auth.identity.password.user
    issued = await desk.sign_in(user.name, user.password, auth.known(), origin(request.scope))
    return _answer(request, plane, issued, 201)


@get(_TOKENS, opt=_ABOUT_ONESELF)
@in_thread
def show_token(request: Call, desk: Desk, plane: Plane) -> Response[wire.TokenAnswer]:
    """KeystoneValidateToken: what the caller's own token in X-Subject-Token is good for."""
    return _answer(request, plane, desk.look_up(_subject(request), asked.identity(request).user_id), 200)


@delete(_TOKENS, status_code=204, opt=needs("iam:token:revoke"))
@in_thread
def delete_token(request: Call, desk: Desk) -> Response[None]:
    """Revokes the caller's own token in X-Subject-Token."""
    desk.revoke(_subject(request), asked.identity(request).user_id)
    return answers.no_content()


@get("/v3/projects", opt=_ABOUT_ONESELF)
@in_thread
def list_projects(request: Call, plane: Plane, wanted: Query[wire.NameQuery]) -> Response[wire.ProjectList]:
    """KeystoneListProjects: those where the caller has a role. SDKs find the project of a region by its name."""
    with plane.database.read() as connection:
        return _projects(connection, request, plane, wanted.read().name)


@get("/v3/auth/projects", opt=_ABOUT_ONESELF)
@in_thread
def list_own_projects(request: Call, plane: Plane) -> Response[wire.ProjectList]:
    """KeystoneListAuthProjects."""
    with plane.database.read() as connection:
        return _projects(connection, request, plane, None)


@get("/v3/auth/domains", opt=_ABOUT_ONESELF)
@in_thread
def list_domains(request: Call, plane: Plane) -> Response[wire.DomainList]:
    """KeystoneListAuthDomains: the account."""
    root = _root(request, plane)
    domain = wire.ShownDomain(links=wire.SelfLink(f"{root}/v3/domains/{wire.ACCOUNT_ID}"))
    return answers.json(wire.DomainList(_links(request, plane), [domain]))


@get("/v3/users", opt=_ABOUT_ONESELF)
@in_thread
def list_users(request: Call, plane: Plane, wanted: Query[wire.NameQuery]) -> Response[wire.UserList]:
    """KeystoneListUsers: the caller."""
    with plane.database.read() as connection:
        found = users.get(connection, asked.identity(request).user_id)
    name = wanted.read().name
    shown = [wire.shown_user(found, _root(request, plane))] if found and name in {None, found.name} else []
    return answers.json(wire.UserList(_links(request, plane), shown))


@get("/v3/regions", opt=_ABOUT_ONESELF)
@in_thread
def list_regions(request: Call, plane: Plane) -> Response[wire.RegionList]:
    """KeystoneListRegions: one."""
    region = wire.ShownRegion(links=wire.SelfLink(f"{_root(request, plane)}/v3/regions/{ZONE}"))
    return answers.json(wire.RegionList(_links(request, plane), [region]))


def _projects(
    connection: sa.Connection, request: Call, plane: ControlPlane, name: str | None
) -> Response[wire.ProjectList]:
    mine = users.projects_of(connection, asked.identity(request).user_id)
    shown = [wire.shown_project(project, _root(request, plane)) for project in mine if name in {None, project.name}]
    return answers.json(wire.ProjectList(_links(request, plane), shown))


def _answer(request: Call, plane: ControlPlane, issued: Issued, status: int) -> Response[wire.TokenAnswer]:
    answer = answers.json(wire.shown_token(issued, _root(request, plane)))
    answer.status_code = status
    answer.headers[_SUBJECT] = issued.text
    return answer


def _subject(request: Call) -> str:
    """Refusal DCS.4062 where no token is named."""
    token = request.headers.get(_SUBJECT)
    if not token:
        raise Refusal("DCS.4062", parameter="X-Subject-Token", reason="it is missing")
    return token.strip()


def _links(request: Call, plane: ControlPlane) -> wire.Links:
    return wire.Links(f"{_root(request, plane)}{request.scope['path']}")


def _root(request: Call, plane: ControlPlane) -> str:
    return public_url(request.scope, plane.settings.public_url)
