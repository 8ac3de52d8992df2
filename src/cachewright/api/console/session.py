"""Sign-in to the console: a session (24 hours, one project) in a cookie that scripts cannot read.

Browsers send cookies even with requests that other sites cause, so the cookie is not sufficient for changes. A changing
request must also have a CSRF token, which is derived from the session token and known only to the console's pages
(OWASP's signed double submit without HMAC, because the session token itself is random and secret). If the browser
reports the origin of the request, it must be the same origin (https://www.w3.org/TR/fetch-metadata/).
"""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.datastructures import Cookie

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.authorization import origin
from cachewright.api.auth.csrf import SESSION_COOKIE, csrf_token, require_same_origin, session_token
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import Body, Call, ServerSettings, Tokens, endpoint
from cachewright.api.schemas import iso
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.model.identity import RoleName
from cachewright.services.tokens import LIFETIME_MS, Issued, Scope

PATH = "/console/session"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`project` is a name. If it is omitted, the session is for the first project in which the user has a role."""

    name: _Text
    password: Annotated[str, msgspec.Meta(max_length=1024)]
    project: _Text | None = None


class ProjectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    project_id: _Text


class Named(msgspec.Struct, frozen=True):
    id: str
    name: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`csrf_token` is the value of the header X-CSRF-Token, which every changing request must have."""

    user: Named
    project: Named
    role: RoleName
    projects: list[Named]
    csrf_token: str
    expires_at: str | None


@post(PATH, status_code=200, opt=OPEN)
@endpoint
async def sign_in(request: Call, tokens: Tokens, settings: ServerSettings, body: Body[SignInBody]) -> Response[Session]:
    """Sign in to the console. Raises ApiError DCS.1001, DCS.1004 if the user has no role in any project, DCS.4962 or
    DCS.4969."""
    require_same_origin(request.scope)
    sign_in_body = body.read()
    scope = Scope(first=True) if sign_in_body.project is None else Scope(project_name=sign_in_body.project)
    issued = await tokens.sign_in(sign_in_body.name, sign_in_body.password, scope, origin(request.scope), "session")
    return _session_response(request, settings, issued)


@put(PATH, opt=needs("iam:identity:get"))
@endpoint
async def change_project(
    request: Call, tokens: Tokens, settings: ServerSettings, body: Body[ProjectBody]
) -> Response[Session]:
    """Replace the session by one for another project. Raises ApiError DCS.1004 if the user has no role in it."""
    token = _session(request)
    project_id = body.read().project_id
    user_id = requests.identity(request).user_id
    issued = await tokens.exchange(token, user_id, Scope(project_id=project_id), origin(request.scope))
    return _session_response(request, settings, issued)


@get(PATH, opt=needs("iam:identity:get"))
@endpoint
def show_session(request: Call, tokens: Tokens, settings: ServerSettings) -> Response[Session]:
    """Show the user and the project of the session."""
    return _session_response(
        request, settings, tokens.look_up(_session(request), requests.identity(request).user_id, "session")
    )


@delete(PATH, status_code=204, opt=needs("iam:token:revoke"))
@endpoint
def sign_out(request: Call, tokens: Tokens, settings: ServerSettings) -> Response[None]:
    """Revoke the session. Its event streams end."""
    tokens.revoke(_session(request), requests.identity(request).user_id, "session")
    response = responses.no_content()
    response.set_cookie(_cookie(request, settings, "", 0))
    return response


ROUTES = [sign_in, change_project, show_session, sign_out]


def _session_response(request: Call, settings: Settings, issued: Issued) -> Response[Session]:
    if issued.project is None or issued.role is None:
        raise ApiError(errors.OTHER_PROJECT)
    session = Session(
        user=Named(issued.user.id, issued.user.name),
        project=Named(issued.project.id, issued.project.name),
        role=issued.role,
        projects=[Named(project.id, project.name) for project in issued.projects],
        csrf_token=csrf_token(issued.text),
        expires_at=iso(issued.token.expires_at),
    )
    response = responses.json(session)
    response.headers["cache-control"] = "no-store"
    response.set_cookie(_cookie(request, settings, issued.text, LIFETIME_MS // 1000))
    return response


def _session(request: Call) -> str:
    """Return the token of the session. Raises ApiError DCS.1003 if the caller uses other credentials."""
    token = session_token(request.scope["headers"])
    if token is None:
        raise ApiError(errors.MISSING_CREDENTIALS)
    return token


def _cookie(request: Call, settings: Settings, value: str, seconds: int) -> Cookie:
    secure = public_url(request.scope, settings.public_url).startswith("https://")
    options: dict[str, Any] = {"key": SESSION_COOKIE, "path": "/", "httponly": True, "samesite": "strict"}
    return Cookie(**options, value=value, max_age=seconds, secure=secure)
