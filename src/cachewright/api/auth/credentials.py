"""Authenticate a request by its token, else by its signature, else by the session of a browser.

A token has precedence because the cloud's Python client also signs requests with a token.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from cachewright import errors
from cachewright.api.auth.csrf import require_own, session_token
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.logs import LineLimit
from cachewright.model.identity import Identity, TokenKind
from cachewright.services.credentials import CredentialService, Owner
from cachewright.services.tokens import digest
from cachewright.signature import (
    Authorization,
    BadSignature,
    OutsideWindow,
    SignedRequest,
    parse_authorization,
    require_recent,
    verify,
)

log = logging.getLogger(__name__)

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Sender(msgspec.Struct, frozen=True):
    """The sender of a request, according to the head of the request.

    :ivar user_id: user of a token or a session; None for a signature, which cannot be verified without the body.
    :ivar known: whether the credentials exist and are enabled.
    """

    user_id: str | None
    known: bool


class Authenticator:
    def __init__(self, credentials: CredentialService, now: Callable[[], datetime] = utc_now) -> None:
        """:param now: clock for the verification of signatures."""
        self._credentials = credentials
        self._now = now
        self._lines = LineLimit()

    async def identify(self, request: SignedRequest, project_id: str | None, source: str = "") -> Identity:
        """Return the identity of the sender. Raises ApiError DCS.1001 to DCS.1004. Errors do not reveal whether a
        project exists to users without a role in it. `source` is the client's address, for the log."""
        tokens, claims = _credentials(request.headers)
        if tokens:
            identity = await self._by_token(tokens, "token", project_id)
        elif claims:
            identity = await self._by_signature(request, claims, project_id, source)
        elif (session := session_token(request.headers)) is not None:
            identity = await self._by_token([session.encode()], "session", project_id)
            require_own(request.method.decode(), request.headers, session)
        else:
            raise ApiError(errors.MISSING_CREDENTIALS)
        return _in_project(identity, project_id)

    async def identify_again(self, headers: Headers, project_id: str | None) -> Identity:
        """Return the identity again during a long response, without verifying the signature: the credential must still
        be valid and its user still have a role. Raises ApiError DCS.1001 to DCS.1004."""
        tokens, claims = _credentials(headers)
        if tokens:
            identity = await self._by_token(tokens, "token", project_id)
        elif claims:
            access_key = parse_authorization(claims[0]).access_key
            owner = await self._credentials.owner_of_key(access_key, project_id)
            if owner is None or not owner.enabled:
                raise ApiError(errors.INVALID_CREDENTIALS)
            identity = _identity(owner, f"key {access_key}", project_id)
        elif (session := session_token(headers)) is not None:
            identity = await self._by_token([session.encode()], "session", project_id)
        else:
            raise ApiError(errors.MISSING_CREDENTIALS)
        return _in_project(identity, project_id)

    async def recognise(self, request: SignedRequest, project_id: str | None) -> Sender:
        """Return the sender according to the head of the request, so that only known senders may send large bodies.

        Raises ApiError like `identify`, except for an unknown or disabled access key: refusing that must take as long
        as refusing a wrong signature.
        """
        tokens, claims = _credentials(request.headers)
        if tokens or not claims:
            return Sender((await self.identify(request, project_id)).user_id, known=True)
        try:
            authorization = _single_authorization(claims)
            require_recent(request.headers, authorization, self._now())
        except BadSignature as bad:
            raise ApiError(errors.INVALID_CREDENTIALS) from bad
        except OutsideWindow as late:
            raise ApiError(errors.EXPIRED_CREDENTIALS) from late
        owner = await self._credentials.owner_of_key(authorization.access_key, project_id)
        return Sender(None, known=owner is not None and owner.enabled)

    async def _by_token(self, tokens: list[bytes], kind: TokenKind, project_id: str | None) -> Identity:
        token_digest = digest(tokens[0].strip().decode("latin-1"))
        owner = await self._credentials.owner_of_token(token_digest, project_id) if len(tokens) == 1 else None
        if owner is None or not owner.enabled or owner.kind != kind:
            raise ApiError(errors.INVALID_CREDENTIALS)
        if owner.expires_at <= now_ms():
            raise ApiError(errors.EXPIRED_CREDENTIALS)
        if project_id not in {None, owner.project_id}:
            raise ApiError(errors.OTHER_PROJECT)
        return _identity(owner, f"{kind} {token_digest[:8]}", project_id)

    async def _by_signature(
        self, request: SignedRequest, claims: list[bytes], project_id: str | None, source: str
    ) -> Identity:
        access_key = "-"
        try:
            authorization = _single_authorization(claims)
            access_key = authorization.access_key
            owner = await self._credentials.owner_of_key(access_key, project_id)
            verify(request, authorization, self._credentials.secret_key(owner), self._now())
            if owner is None or not owner.enabled:
                raise BadSignature("the access key is disabled")
        except BadSignature as bad:
            self._write_line(str(bad), access_key, source)
            raise ApiError(errors.INVALID_CREDENTIALS) from bad
        except OutsideWindow as late:
            self._write_line("X-Sdk-Date is too far from now", access_key, source)
            raise ApiError(errors.EXPIRED_CREDENTIALS) from late
        return _identity(owner, f"key {access_key}", project_id)

    def _write_line(self, why: str, access_key: str, source: str) -> None:
        if (note := self._lines.note(source)) is not None:
            log.info("signature refused: %s; access key %s from %s%s", why, access_key, source, note)


def _credentials(headers: Headers) -> tuple[list[bytes], list[bytes]]:
    """Return the values of all X-Auth-Token and all Authorization headers."""
    tokens = [value for name, value in headers if name == b"x-auth-token"]
    return tokens, [value for name, value in headers if name == b"authorization"]


def _in_project(identity: Identity, project_id: str | None) -> Identity:
    if project_id is not None and identity.role is None:
        raise ApiError(errors.OTHER_PROJECT)
    return identity


def _single_authorization(claims: list[bytes]) -> Authorization:
    if len(claims) > 1:
        raise BadSignature("there are several Authorization headers")
    return parse_authorization(claims[0])


def _identity(owner: Owner, credential: str, project_id: str | None) -> Identity:
    return Identity(
        user_id=owner.user_id,
        user_name=owner.user_name,
        credential=credential,
        project_id=project_id,
        role=owner.role,
    )
