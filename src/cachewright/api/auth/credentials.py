"""A request to the identity behind it: by its token if it carries one, else by its signature, else by the session of a
browser.

The cloud's Python client signs even where it is told to send a token, so a token comes first.
"""

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from cachewright.api.auth.browser import require_own, session_token
from cachewright.api.auth.signature import (
    Authorization,
    BadSignature,
    OutsideWindow,
    SignedRequest,
    parse_authorization,
    require_recent,
    verify,
)
from cachewright.errors import Refusal
from cachewright.logs import RARELY
from cachewright.operations.sign_in import digest
from cachewright.store import credentials
from cachewright.store.kept import Kept
from cachewright.store.records import Identity
from cachewright.store.sealing import Sealer
from cachewright.tasks.clock import now_ms

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Sender(msgspec.Struct, frozen=True):
    """The sender of a request, as far as the head of the request shows it.

    :ivar user_id: the user of a token or a session; None for a signature, which covers the body.
    :ivar known: the credentials exist and are enabled.
    """

    user_id: str | None
    known: bool


class Authenticator:
    def __init__(self, kept: Kept, sealer: Sealer, now: Callable[[], datetime] = utc_now) -> None:
        """`now` is the clock that signatures are checked by."""
        self._kept = kept
        self._sealer = sealer
        self._now = now
        # Checked against where the access key is unknown: to refuse that takes as long as to refuse a known one.
        self._nobodys_secret = sealer.seal(secrets.token_urlsafe(30))

    async def identify(self, request: SignedRequest, project_id: str | None) -> Identity:
        """Refusal DCS.1001 to DCS.1004. Whether there is such a project is told to nobody who has no role in it."""
        tokens = [value for name, value in request.headers if name == b"x-auth-token"]
        claims = [value for name, value in request.headers if name == b"authorization"]
        if tokens:
            identity = await self._by_token(tokens, project_id)
        elif claims:
            identity = await self._by_signature(request, claims, project_id)
        elif (session := session_token(request.headers)) is not None:
            identity = await self._by_token([session.encode()], project_id)
            require_own(request.method.decode(), request.headers, session)
        else:
            raise Refusal("DCS.1003")
        if project_id is not None and identity.role is None:
            raise Refusal("DCS.1004")
        return identity

    async def recognise(self, request: SignedRequest, project_id: str | None) -> Sender:
        """The sender by the request's head, so that only a known one may send a large body. Its body is not looked at.

        Refusal as by `identify`, except for an access key that is unknown or disabled: that is refused no sooner than a
        wrong signature.
        """
        claims = [value for name, value in request.headers if name == b"authorization"]
        if not claims or any(name == b"x-auth-token" for name, _ in request.headers):
            return Sender((await self.identify(request, project_id)).user_id, known=True)
        try:
            authorization = _only(claims)
            require_recent(request.headers, authorization, self._now())
        except BadSignature as bad:
            raise Refusal("DCS.1001") from bad
        except OutsideWindow as late:
            raise Refusal("DCS.1002") from late
        owner = await self._kept.ask(credentials.of_key, authorization.access_key, project_id)
        return Sender(None, known=owner is not None and owner.enabled)

    async def _by_token(self, tokens: list[bytes], project_id: str | None) -> Identity:
        sought = digest(tokens[0].strip().decode("latin-1"))
        owner = await self._kept.ask(credentials.of_token, sought, project_id) if len(tokens) == 1 else None
        if owner is None or not owner.enabled:
            raise Refusal("DCS.1001")
        if owner.expires_at <= now_ms():
            raise Refusal("DCS.1002")
        if project_id not in {None, owner.project_id}:
            raise Refusal("DCS.1004")
        return _identity(owner, f"token {sought[:8]}", project_id)

    async def _by_signature(self, request: SignedRequest, claims: list[bytes], project_id: str | None) -> Identity:
        try:
            authorization = _only(claims)
            owner = await self._kept.ask(credentials.of_key, authorization.access_key, project_id)
            secret = self._sealer.open(owner.sealed_secret if owner else self._nobodys_secret)
            verify(request, authorization, secret, self._now())
            if owner is None or not owner.enabled:
                raise BadSignature("the access key is disabled")
        except BadSignature as bad:
            log.info("refused: %s", bad, extra=RARELY)
            raise Refusal("DCS.1001") from bad
        except OutsideWindow as late:
            raise Refusal("DCS.1002") from late
        return _identity(owner, f"key {authorization.access_key}", project_id)


def _only(claims: list[bytes]) -> Authorization:
    if len(claims) > 1:
        raise BadSignature("there are several Authorization headers")
    return parse_authorization(claims[0])


def _identity(owner: credentials.Owner, credential: str, project_id: str | None) -> Identity:
    return Identity(
        user_id=owner.user_id,
        user_name=owner.user_name,
        credential=credential,
        project_id=project_id,
        role=owner.role,
    )
