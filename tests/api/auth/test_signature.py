"""The signature, against the cloud's own signer."""

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import assume, given
from hypothesis import strategies as st

from cachewright.signature import (
    Authorization,
    BadSignature,
    OutsideWindow,
    SignedRequest,
    canonical,
    derived_signature,
    parse_authorization,
    verify,
)

KEY, SECRET = "AK1234567890", "secret-of-the-key"
NOW = datetime(2026, 8, 21, 12, 0, 0, tzinfo=UTC)
DATE = "20260821T120000Z"

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
segments = st.lists(text.map(lambda s: s.replace("?", "")), max_size=4)
header_values = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc")), max_size=20)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
        "path": segments.map(lambda parts: "/v2/" + "/".join(parts)),
        "query": st.lists(st.tuples(text, text), max_size=5),
        "headers": st.dictionaries(st.sampled_from(["User-Agent", "X-Project-Id", "X-Any"]), header_values, max_size=3),
        "body": st.one_of(st.just(b""), st.binary(max_size=40)),
    }
)


def signed(wish: Mapping[str, Any]) -> SignedRequest:
    """The request that the SDK's signer sends for `wish`."""
    request = SdkRequest(
        method=wish["method"],
        schema="http",
        host="127.0.0.1:8765",
        resource_path=wish["path"],
        query_params=list(wish["query"]),
        header_params={"Content-Type": "application/json", "X-Sdk-Date": DATE, **wish["headers"]},
        body=wish["body"],
    )
    Signer(BasicCredentials(KEY, SECRET, "p")).sign(request)
    path, _, query = request.uri.partition("?")
    return SignedRequest(
        method=request.method.encode(),
        path=path.encode(),
        query=query.encode(),
        headers=[(name.lower().encode(), value.encode("latin-1")) for name, value in request.header_params.items()],
        body=request.body,
    )


def check(request: SignedRequest, now: datetime = NOW, secret: str = SECRET) -> None:
    verify(request, claim(request), secret, now)


def claim(request: SignedRequest) -> Authorization:
    return parse_authorization(dict(request.headers)[b"authorization"])


def changed(request: SignedRequest, **fields: Any) -> SignedRequest:
    known = {name: getattr(request, name) for name in request.__struct_fields__}
    return SignedRequest(**(known | fields))


@given(requests)
def test_whatever_the_clouds_signer_signs_is_accepted(wish: dict[str, Any]) -> None:
    request = signed(wish)
    assert claim(request).access_key == KEY
    check(request)


@given(requests, st.sampled_from(["method", "path", "query", "body", "header"]), st.data())
def test_one_changed_byte_is_refused(wish: dict[str, Any], part: str, data: st.DataObject) -> None:
    request = signed(wish)
    if part == "header":
        name = data.draw(st.sampled_from(claim(request).signed_headers))
        value = mutated(dict(request.headers)[name], data)
        headers = [(known, value if known == name else kept) for known, kept in request.headers]
        other = changed(request, headers=headers)
        assume(value.strip() != dict(request.headers)[name].strip())
    else:
        other = changed(request, **{part: mutated(getattr(request, part), data)})
        assume(meaning(other) != meaning(request))  # %41 is A: the same request, written another way
    with pytest.raises(BadSignature):
        check(other)


def meaning(request: SignedRequest) -> bytes:
    return canonical(request, {})


def mutated(value: bytes, data: st.DataObject) -> bytes:
    """One byte replaced, removed or inserted."""
    at = data.draw(st.integers(0, len(value)))
    put = data.draw(st.binary(max_size=1))
    kept = data.draw(st.integers(0, 1))
    result = value[:at] + put + value[at + kept :]
    assume(result != value)
    return result


@given(st.binary(max_size=300))
def test_any_authorization_is_read_or_refused(value: bytes) -> None:
    with suppress(BadSignature):
        assert isinstance(parse_authorization(value), Authorization)


@given(
    st.binary(max_size=10),
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.lists(st.tuples(st.sampled_from([b"x-sdk-date", b"host", b"x"]), st.binary(max_size=30)), max_size=4),
    st.binary(max_size=30),
)
def test_any_request_is_refused_and_nothing_else(
    method: bytes, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    request = SignedRequest(method=method, path=path, query=query, headers=headers, body=body)
    authorization = Authorization(KEY, (b"host", b"x-sdk-date"), b"0" * 64)
    with pytest.raises(BadSignature):
        verify(request, authorization, SECRET, NOW)


SCOPE = b"20260821///sdk_request"


def derived(request: SignedRequest, scope: bytes = SCOPE, date: bytes = DATE.encode()) -> Authorization:
    """The claim of an older client on this request: all its headers, signed with a derived key."""
    names = sorted(name for name, _ in request.headers if name != b"authorization")
    headers = {name: dict(request.headers)[name].strip() for name in names} | {b"x-sdk-date": date}
    made = derived_signature(request, headers, SECRET, scope).decode()
    listed = b";".join(headers).decode()
    return parse_authorization(
        f"SDK-HMAC-SHA256 Credential={KEY}/{scope.decode()}, SignedHeaders={listed}, Signature={made}".encode()
    )


@pytest.mark.parametrize("scope", [SCOPE, b"20260821/eu-de/dcs/sdk_request"])
def test_an_older_client_signs_with_a_derived_key(scope: bytes) -> None:
    request = signed({**PLAIN, "headers": {"User-Agent": "golangsdk/2.0"}})
    authorization = derived(request, scope)
    assert (authorization.access_key, authorization.scope) == (KEY, scope)
    verify(request, authorization, SECRET, NOW)
    for other in (changed(request, path=b"/v2/q/instances"), changed(request, body=b"{}"), changed(request, query=b"")):
        with pytest.raises(BadSignature):
            verify(other, authorization, SECRET, NOW)
    with pytest.raises(BadSignature):
        verify(request, authorization, "another", NOW)
    with pytest.raises(OutsideWindow):
        verify(request, authorization, SECRET, NOW + timedelta(minutes=16))


def test_a_derived_key_is_the_documented_one() -> None:
    """Computed by gophertelekomcloud's scheme, written out."""
    request = SignedRequest(method=b"GET", path=b"/v2/p", query=b"", headers=[], body=b"")
    key = b"SDK" + SECRET.encode()
    for part in (b"20260821", b"", b"", b"sdk_request"):
        key = hmac.new(key, part, hashlib.sha256).digest()
    empty = hashlib.sha256(b"").hexdigest()
    form = f"GET\n/v2/p/\n\nuser-agent:a b\nx-sdk-date:{DATE}\n\nuser-agent;x-sdk-date\n{empty}"
    to_sign = f"SDK-HMAC-SHA256\n{DATE}\n{SCOPE.decode()}\n{hashlib.sha256(form.encode()).hexdigest()}"
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest().encode()
    headers = {b"user-agent": b"a   b", b"x-sdk-date": DATE.encode()}
    assert derived_signature(request, headers, SECRET, SCOPE) == expected


def test_a_derived_key_is_good_for_its_day_and_its_scope() -> None:
    request = signed(PLAIN)
    with pytest.raises(BadSignature):
        derived(request, b"20260820///sdk_request")
    authorization = derived(request)
    for scope in (b"20260821/x//sdk_request", None):
        with pytest.raises(BadSignature):
            verify(request, msgspec.structs.replace(authorization, scope=scope), SECRET, NOW)


@pytest.mark.parametrize("scope", ["", "20260821", "20260821//sdk_request", "2026082///sdk_request", "20260821///x"])
def test_a_scope_of_another_form_is_refused(scope: str) -> None:
    claimed = f"SDK-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=x-sdk-date, Signature={'0' * 64}"
    with pytest.raises(BadSignature):
        parse_authorization(claimed.encode())


PLAIN = {"method": "GET", "path": "/v2/p/instances", "query": [("limit", "10")], "headers": {}, "body": b""}


@pytest.mark.parametrize("minutes", [-15, 0, 15])
def test_a_quarter_of_an_hour_is_within_the_window(minutes: int) -> None:
    check(signed(PLAIN), NOW + timedelta(minutes=minutes))


@pytest.mark.parametrize("seconds", [-901, 901])
def test_more_is_outside(seconds: int) -> None:
    with pytest.raises(OutsideWindow):
        check(signed(PLAIN), NOW + timedelta(seconds=seconds))


def test_who_has_not_the_key_is_not_told_about_the_time() -> None:
    with pytest.raises(BadSignature):
        check(signed(PLAIN), NOW + timedelta(days=1), secret="another")


def test_a_header_that_is_not_signed_does_not_count() -> None:
    request = signed(PLAIN)
    check(changed(request, headers=[*request.headers, (b"x-project-id", b"another")]))


def test_a_signed_header_that_is_there_twice_is_refused() -> None:
    request = signed(PLAIN)
    with pytest.raises(BadSignature):
        check(changed(request, headers=[*request.headers, (b"host", b"another")]))


def test_the_date_must_be_signed() -> None:
    request = signed(PLAIN)
    without = Authorization(KEY, (b"host",), claim(request).signature)
    with pytest.raises(BadSignature, match="X-Sdk-Date"):
        verify(request, without, SECRET, NOW)


@pytest.mark.parametrize("hash_named", ["UNSIGNED-PAYLOAD", "0" * 64])
def test_a_body_must_be_what_is_signed(hash_named: str) -> None:
    wish = PLAIN | {"method": "POST", "body": b"{}", "headers": {"X-Sdk-Content-Sha256": hash_named}}
    with pytest.raises(BadSignature, match="body"):
        check(signed(wish))


def test_a_plus_in_a_query_is_a_blank_as_the_go_client_writes_it() -> None:
    request = signed(PLAIN | {"query": [("name", "a b")]})
    check(changed(request, query=b"name=a+b"))
