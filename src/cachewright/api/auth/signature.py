"""Request signatures SDK-HMAC-SHA256, checked as the cloud's own clients make them.

Pure. Only the headers that a signature names count; of those X-Sdk-Date must be one. The path is decoded once and
encoded again segment by segment, so `%2F` in a path canonicalises to a slash; whoever routes the request must not
decode it that way.

Source: the signer of huaweicloudsdkcore 3.1, and requests of the Python, Go and terraform clients.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

ALGORITHM = "SDK-HMAC-SHA256"
WINDOW = timedelta(minutes=15)

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Access=([^,\s]{{1,128}}), *SignedHeaders=([^,\s]{{1,4096}}), *Signature=([0-9a-f]{{64}})"
)
_DATE = "%Y%m%dT%H%M%SZ"
_UNSIGNED = "UNSIGNED-PAYLOAD"


class BadSignature(Exception):
    """The request is not signed, or not as it should be."""


class OutsideWindow(Exception):
    """X-Sdk-Date is too far from now."""


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came: nothing decoded. Header names are lower-case."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[str, str]]
    body: bytes


class Authorization(msgspec.Struct, frozen=True):
    access_key: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(value: str) -> Authorization:
    """BadSignature where it is not this algorithm's."""
    found = _AUTHORIZATION.fullmatch(value.strip())
    if not found:
        raise BadSignature("the Authorization header is not of SDK-HMAC-SHA256")
    access_key, names, signature = found.groups()
    return Authorization(access_key, tuple(name.lower() for name in names.split(";")), signature)


def verify(request: SignedRequest, authorization: Authorization, secret_key: str, now: datetime) -> None:
    """BadSignature or OutsideWindow; returns where the request is what the key's owner signed."""
    if "x-sdk-date" not in authorization.signed_headers:
        raise BadSignature("X-Sdk-Date is not signed")
    headers = _joined(request.headers)
    missing = [name for name in authorization.signed_headers if name not in headers]
    if missing:
        raise BadSignature("a signed header is missing")
    date = headers["x-sdk-date"].strip()
    expected = signature(request, authorization.signed_headers, date, secret_key)
    if not hmac.compare_digest(expected, authorization.signature):
        raise BadSignature("the signature is another")
    try:
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadSignature("X-Sdk-Date is not yyyyMMddTHHmmssZ") from error
    if abs(now - signed_at) > WINDOW:
        raise OutsideWindow(date)


def signature(request: SignedRequest, signed_headers: Sequence[str], date: str, secret_key: str) -> str:
    to_sign = "\n".join(
        (ALGORITHM, date, _sha256(_canonical(request, signed_headers).encode("utf-8", "surrogateescape")))
    )
    return hmac.new(secret_key.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _canonical(request: SignedRequest, signed_headers: Sequence[str]) -> str:
    headers = _joined(request.headers)
    lines = [f"{name}:{headers[name].strip()}\n" for name in signed_headers]
    return "\n".join(
        (
            request.method,
            _canonical_path(request.path),
            _canonical_query(request.query),
            "".join(lines),
            ";".join(signed_headers),
            _payload_hash(request, headers),
        )
    )


def _payload_hash(request: SignedRequest, headers: Mapping[str, str]) -> str:
    """A client may name the hash of a body itself; one that leaves the body unsigned is not accepted."""
    claimed = headers.get("x-sdk-content-sha256")
    actual = _sha256(request.body)
    if request.body and claimed is not None and claimed.strip() != actual:
        raise BadSignature("the body is unsigned" if claimed.strip() == _UNSIGNED else "the body's hash is another")
    return actual


def _canonical_path(path: bytes) -> str:
    segments = unquote_to_bytes(path).split(b"/")
    joined = "/".join(quote(segment, safe="~") for segment in segments)
    return joined if joined.endswith("/") else joined + "/"


def _canonical_query(query: bytes) -> str:
    pairs = [part.partition("=") for part in query.decode("latin-1").split("&") if part]
    decoded = sorted((unquote(key.replace("+", " ")), unquote(value.replace("+", " "))) for key, _, value in pairs)
    return "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in decoded)


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """A header that is sent twice counts as one, its values joined, as RFC 9110 has it."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
