"""Users, projects, keys and tokens, as they are stored."""

from typing import Literal

import msgspec

RoleName = Literal["viewer", "operator", "admin"]


TokenKind = Literal["token", "session"]


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. Every query made for it is bound to its project."""

    project_id: str
    user_id: str
    user_name: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential speaks for.

    :ivar credential: which one it was, in words that give no secret away.
    :ivar project_id: the project that is asked for; None where a request concerns none.
    :ivar role: what the user is in that project; None where nothing.
    """

    user_id: str
    user_name: str
    credential: str
    project_id: str | None
    role: RoleName | None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What instances belong to."""

    id: str
    name: str
    created_at: int


class User(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar password: its argon2 hash; None for a user who signs with keys alone."""

    id: str
    name: str
    password: str | None
    enabled: bool
    created_at: int


class AccessKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key. It speaks for its user in every project where that user has a role."""

    access_key: str
    secret_key: str
    user_id: str
    enabled: bool
    created_at: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was issued. The token itself is not kept.

    :ivar digest: SHA-256 of the token, hexadecimal.
    :ivar project_id: the one project it is good for; None for one that only says who its user is.
    :ivar kind: a `token` is valid in the header X-Auth-Token alone, a `session` in the console's cookie alone.
    """

    digest: str
    user_id: str
    project_id: str | None
    issued_at: int
    expires_at: int
    kind: TokenKind = "token"
