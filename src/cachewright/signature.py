"""Request signatures SDK-HMAC-SHA256, checked as the cloud's own clients make them.

Pure, and on bytes throughout: nothing that arrives can fail to decode. Only the headers that a signature names count;
of those X-Sdk-Date must be one. The path is decoded once and encoded again segment by segment, so `%2F` in a path
canonicalises to a slash; the router of the request must not decode it that way.

Older clients (terraform's provider before 1.54, gophertelekomcloud) sign with a key that is derived for a day, a region
and a service. Their header has `Credential`, with this scope, instead of `Access`.

Source: the signer of huaweicloudsdkcore 3.1, and requests of the Python, Go and terraform clients; for the derived key
`signer_helper.go` of gophertelekomcloud.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

import msgspec

from cachewright.errors import CachewrightError

ALGORITHM = b"SDK-HMAC-SHA256"
WINDOW = timedelta(minutes=15)

_SCOPE_END = b"sdk_request"
_VISIBLE = rb"[!-+\--~]"  # ASCII that can be seen, without the comma
_NAME = rb"[!-+\--.0-~]"  # ... and without the slash
_AUTHORIZATION = re.compile(
    rb"%b +(?:Access=(?P<key>%b{1,128})|Credential=(?P<scoped>%b{1,128})/(?P<scope>[0-9]{8}/%b{0,64}/%b{0,64}/%b)), *"
    rb"SignedHeaders=(?P<names>%b{1,4096}), *Signature=(?P<signature>[0-9a-f]{64})"
    % (ALGORITHM, _VISIBLE, _NAME, _NAME, _NAME, _SCOPE_END, _VISIBLE)
)
_UNRESERVED_PATH = re.compile(rb"[A-Za-z0-9_.~/-]*")  # RFC 3986: stands for itself
_DATE_HEADER = b"x-sdk-date"
_DATE = re.compile(rb"[0-9]{8}T[0-9]{6}Z")
_HASH_HEADER = b"x-sdk-content-sha256"


class BadSignature(CachewrightError):
    """The request is not signed, or not as it should be."""


class OutsideWindow(CachewrightError):
    """X-Sdk-Date is too far from now."""


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came: nothing decoded. Header names are lower-case."""

    method: bytes
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Authorization(msgspec.Struct, frozen=True):
    """:ivar scope: what a derived key is for, `yyyyMMdd/region/service/sdk_request`; None for the key itself."""

    access_key: str
    signed_headers: tuple[bytes, ...]
    signature: bytes
    scope: bytes | None = None


def parse_authorization(value: bytes) -> Authorization:
    """BadSignature where it is not this algorithm's."""
    found = _AUTHORIZATION.fullmatch(value.strip())
    if not found:
        raise BadSignature("the Authorization header is not of SDK-HMAC-SHA256")
    access_key = found["key"] or found["scoped"]
    names = tuple(found["names"].lower().split(b";"))
    return Authorization(access_key.decode("ascii"), names, found["signature"], found["scope"])


def verify(request: SignedRequest, authorization: Authorization, secret_key: str, now: datetime) -> None:
    """BadSignature or OutsideWindow; returns where the request is what the key's owner signed.

    That the time is wrong is told only to who has the key.
    """
    if _DATE_HEADER not in authorization.signed_headers:
        raise BadSignature("X-Sdk-Date is not signed")
    headers = _signed(request.headers, authorization.signed_headers)
    if authorization.scope is None:
        expected = signature(request, headers, secret_key)
    else:
        expected = derived_signature(request, headers, secret_key, authorization.scope)
    if not hmac.compare_digest(expected, authorization.signature):
        raise BadSignature("the signature is another")
    if abs(now - _signed_at(headers[_DATE_HEADER])) > WINDOW:
        raise OutsideWindow


def require_recent(headers: Sequence[tuple[bytes, bytes]], authorization: Authorization, now: datetime) -> None:
    """BadSignature or OutsideWindow by the head of a request alone, before its body has been read."""
    if _DATE_HEADER not in authorization.signed_headers:
        raise BadSignature("X-Sdk-Date is not signed")
    if abs(now - _signed_at(_signed(headers, authorization.signed_headers)[_DATE_HEADER])) > WINDOW:
        raise OutsideWindow


def signature(request: SignedRequest, signed_headers: Mapping[bytes, bytes], secret_key: str) -> bytes:
    """`signed_headers` in the order in which they are signed, values trimmed; the date is among them."""
    to_sign = b"\n".join((ALGORITHM, signed_headers[_DATE_HEADER], _sha256(canonical(request, signed_headers))))
    return hmac.new(secret_key.encode(), to_sign, hashlib.sha256).hexdigest().encode()


def derived_signature(
    request: SignedRequest, signed_headers: Mapping[bytes, bytes], secret_key: str, scope: bytes
) -> bytes:
    """As `signature`, with a key derived for `scope`. Runs of blanks in header values count as one."""
    date = signed_headers[_DATE_HEADER]
    if not date.startswith(scope[: scope.index(b"/")]):
        raise BadSignature("the scope is of another day than X-Sdk-Date")
    headers = {name: b" ".join(value.split()) for name, value in signed_headers.items()}
    to_sign = b"\n".join((ALGORITHM, date, scope, _sha256(canonical(request, headers))))
    key = b"SDK" + secret_key.encode()
    for part in (*scope.split(b"/"), to_sign):
        key = hmac.new(key, part, hashlib.sha256).digest()
    return key.hex().encode()


def canonical(request: SignedRequest, signed_headers: Mapping[bytes, bytes]) -> bytes:
    """The one form of all requests that mean the same."""
    return b"\n".join(
        (
            request.method,
            _canonical_path(request.path),
            _canonical_query(request.query),
            b"".join(b"%b:%b\n" % header for header in signed_headers.items()),
            b";".join(signed_headers),
            _payload_hash(request),
        )
    )


def _signed(headers: Sequence[tuple[bytes, bytes]], names: Sequence[bytes]) -> dict[bytes, bytes]:
    """Each header that a signature names must be there once: of two, a reader further down might take the other."""
    wanted = set(names)
    there = [(name, value.strip()) for name, value in headers if name in wanted]
    found = dict(there)
    if len(there) != len(found) or len(found) != len(wanted):
        raise BadSignature("a signed header is missing or there twice")
    return {name: found[name] for name in names}


def _signed_at(date: bytes) -> datetime:
    if not _DATE.fullmatch(date):
        raise BadSignature("X-Sdk-Date is not yyyyMMddTHHmmssZ")
    try:
        return datetime.fromisoformat(date.decode("ascii"))
    except ValueError as error:
        raise BadSignature("X-Sdk-Date is no date") from error


def _payload_hash(request: SignedRequest) -> bytes:
    """A client may name the hash of a body itself; one that leaves the body unsigned is not accepted."""
    actual = _sha256(request.body)
    claims = [value.strip() for name, value in request.headers if name == _HASH_HEADER]
    if request.body and any(claim != actual for claim in claims):
        raise BadSignature("X-Sdk-Content-Sha256 is not the body's hash")
    return actual


def _canonical_path(path: bytes) -> bytes:
    joined = path
    if not _UNRESERVED_PATH.fullmatch(path):
        joined = "/".join(quote(segment, safe="~") for segment in unquote_to_bytes(path).split(b"/")).encode()
    return joined if joined.endswith(b"/") else joined + b"/"


def _canonical_query(query: bytes) -> bytes:
    if not query:
        return b""
    pairs = (part.replace(b"+", b" ").partition(b"=") for part in query.split(b"&") if part)
    decoded = sorted((unquote_to_bytes(key), unquote_to_bytes(value)) for key, _, value in pairs)
    return "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in decoded).encode()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
