"""Shapes of IAM v3 that clients need to sign in and to find their project. There is one account, which Keystone calls a
domain.

Source: Keystone's identity API v3 and its use by the cloud's SDKs and by terraform-provider-huaweicloud.
"""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from cachewright.api.auth.permissions import ROLES
from cachewright.api.schemas.flavors import ZONE
from cachewright.model.identity import Project, RoleName, User
from cachewright.services.tokens import Issued, Scope

ACCOUNT = "cachewright"
ACCOUNT_ID = uuid.uuid5(uuid.NAMESPACE_URL, ACCOUNT).hex

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Named(msgspec.Struct, frozen=True):
    """A reference by id or by name."""

    id: _Text | None = None
    name: _Text | None = None

    def is_account(self) -> bool:
        return self.id in {None, ACCOUNT_ID} and self.name in {None, ACCOUNT}


class WantedUser(msgspec.Struct, frozen=True):
    name: _Text
    password: Annotated[str, msgspec.Meta(max_length=1024)]
    domain: Named = Named()


class Password(msgspec.Struct, frozen=True):
    user: WantedUser


class Methods(msgspec.Struct, frozen=True):
    methods: Annotated[list[Literal["password"]], msgspec.Meta(min_length=1, max_length=1)]
    password: Password


class WantedScope(msgspec.Struct, frozen=True):
    """A project, or the account. A token for the account only identifies its user."""

    project: Named | None = None
    domain: Named | None = None


class Auth(msgspec.Struct, frozen=True):
    identity: Methods
    scope: WantedScope = WantedScope()

    def known(self) -> Scope:
        """Return the scope. All domains in the request must be the only account."""
        domains = (self.identity.password.user.domain, self.scope.domain)
        project = self.scope.project or Named()
        return Scope(
            project_id=project.id,
            project_name=project.name,
            of_account=all(domain.is_account() for domain in domains if domain),
        )


class TokenBody(msgspec.Struct, frozen=True):
    auth: Auth


class Reference(msgspec.Struct, frozen=True):
    id: str
    name: str


_DOMAIN = Reference(ACCOUNT_ID, ACCOUNT)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A user or a project with its account."""

    id: str
    name: str
    domain: Reference = _DOMAIN


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    interface: str = "public"
    region: str = ZONE
    region_id: str = ZONE
    url: str


class CatalogEntry(msgspec.Struct, frozen=True):
    id: str
    name: str
    type: str
    endpoints: list[Endpoint]


class ShownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token for a project has `project`, `roles` and `catalog`; a token for the account has `domain`."""

    expires_at: str
    issued_at: str
    methods: tuple[str, ...]
    user: Member
    project: Member | UnsetType = UNSET
    domain: Reference | UnsetType = UNSET
    roles: tuple[Reference, ...] | UnsetType = UNSET
    catalog: tuple[CatalogEntry, ...] | UnsetType = UNSET


class TokenAnswer(msgspec.Struct, frozen=True):
    """Description of a token. The token itself is in the header X-Subject-Token."""

    token: ShownToken


class NameQuery(msgspec.Struct, frozen=True):
    name: str | None = None


class Links(msgspec.Struct, frozen=True):
    """Links of a list. Lists are short, so they have only one page."""

    self: str
    next: None = None
    previous: None = None


class SelfLink(msgspec.Struct, frozen=True):
    self: str


class ShownProject(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str = ""
    domain_id: str = ACCOUNT_ID
    parent_id: str = ACCOUNT_ID
    is_domain: bool = False
    enabled: bool = True
    links: SelfLink


class ProjectList(msgspec.Struct, frozen=True):
    """Projects in which the caller has a role."""

    links: Links
    projects: list[ShownProject]


class ShownDomain(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ACCOUNT_ID
    name: str = ACCOUNT
    description: str = ""
    enabled: bool = True
    links: SelfLink


class DomainList(msgspec.Struct, frozen=True):
    """The only account."""

    links: Links
    domains: list[ShownDomain]


class ShownUser(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str = ""
    domain_id: str = ACCOUNT_ID
    enabled: bool
    password_expires_at: None = None
    links: SelfLink


class UserList(msgspec.Struct, frozen=True):
    """Only the caller. Other users are visible only to the owner of the server."""

    links: Links
    users: list[ShownUser]


class ShownRegion(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ZONE
    description: str = ""
    parent_region_id: None = None
    type: str = "public"
    links: SelfLink


class RegionList(msgspec.Struct, frozen=True):
    """The only region: each server is one region."""

    links: Links
    regions: list[ShownRegion]


def shown_token(issued: Issued, root: str) -> TokenAnswer:
    """Return the description of a token. `root` is the URL by which the caller reaches the server, without a path."""
    project, token = issued.project, issued.token
    return TokenAnswer(
        ShownToken(
            expires_at=_moment(token.expires_at),
            issued_at=_moment(token.issued_at),
            methods=("password",),
            user=Member(id=issued.user.id, name=issued.user.name),
            project=Member(id=project.id, name=project.name) if project else UNSET,
            domain=UNSET if project else _DOMAIN,
            roles=(_role(issued.role),) if issued.role else UNSET,
            catalog=_catalog(root, project) if project else UNSET,
        )
    )


def shown_project(project: Project, root: str) -> ShownProject:
    return ShownProject(id=project.id, name=project.name, links=SelfLink(f"{root}/v3/projects/{project.id}"))


def shown_user(user: User, root: str) -> ShownUser:
    link = SelfLink(f"{root}/v3/users/{user.id}")
    return ShownUser(id=user.id, name=user.name, enabled=user.enabled, links=link)


def _role(name: RoleName) -> Reference:
    return Reference(str(ROLES.index(name)), name)


def _catalog(root: str, project: Project) -> tuple[CatalogEntry, ...]:
    urls = {"dcs": f"{root}/v2/{project.id}", "identity": f"{root}/v3"}
    return tuple(CatalogEntry(kind, kind, kind, [Endpoint(id=f"{kind}-{ZONE}", url=url)]) for kind, url in urls.items())


def _moment(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
