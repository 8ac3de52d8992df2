"""Users, projects, keys and tokens."""

from typing import Literal

import msgspec

RoleName = Literal["viewer", "operator", "admin"]


TokenKind = Literal["token", "session"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of an operation, within one project."""

    project_id: str
    user_id: str
    user_name: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The user that a credential authenticates.

    :ivar credential: description of the credential, without secrets.
    :ivar project_id: project of the request; None without a project.
    :ivar role: role of the user in that project; None without a role.
    """

    user_id: str
    user_name: str
    credential: str
    project_id: str | None
    role: RoleName | None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project, which owns instances and tasks."""

    id: str
    name: str
    created_at: int


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user.

    :ivar password: argon2 hash; None for a user with access keys only.
    """

    id: str
    name: str
    password: str | None
    enabled: bool
    created_at: int


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs requests. It authenticates its user in every project where the user has a role."""

    access_key: str
    secret_key: str
    user_id: str
    enabled: bool
    created_at: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An issued token. The token itself is not stored.

    :ivar digest: SHA-256 of the token, hexadecimal.
    :ivar project_id: the project for which it is valid; None for a token without a project.
    :ivar kind: `token` for the header X-Auth-Token, `session` for the console's cookie.
    """

    digest: str
    user_id: str
    project_id: str | None
    issued_at: int
    expires_at: int
    kind: TokenKind = "token"
