"""A request to a webhook goes to the address that was checked, and its certificate is one of the name in the URL."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trustme

from cachewright.webhooks import requests
from cachewright.webhooks.requests import AddressNotAllowed, CheckedTransport, Lookups, post
from receiver import Receiver

NAME = "receiver.example"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Lets every name have these addresses; the names that are looked up."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def look_up(host: str, port: Any, **wanted: Any) -> Any:
        if wanted.get("flags"):
            return resolve(host, port, **wanted)
        asked.append(host)
        return [entry for address in addresses for entry in resolve(address, port, **wanted)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


async def sent(url: str, *, to_private: bool = True) -> int:
    return await post(CheckedTransport(Lookups(), "p", to_private=to_private), url, b"{}", {})


async def test_the_connection_is_made_to_an_address_that_passed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "169.254.169.254", "127.0.0.1")
    assert await sent(f"http://{NAME}:{receiver.port}/hook") == 204
    assert asked == [NAME]
    ((headers, _),) = receiver.received
    assert headers["host"] == f"{NAME}:{receiver.port}"


async def test_another_address_is_tried_where_one_does_not_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "::1", "127.0.0.1")
    assert await sent(f"http://{NAME}:{receiver.port}/hook") == 204


@pytest.mark.parametrize(("address", "to_private"), [("169.254.169.254", True), ("127.0.0.1", False)])
async def test_a_name_with_no_allowed_address_is_sent_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, address: str, to_private: bool
) -> None:
    resolving(monkeypatch, address)
    with pytest.raises(AddressNotAllowed):
        await sent(f"http://{NAME}:{receiver.port}/hook", to_private=to_private)
    assert receiver.received == []


async def test_a_name_that_there_is_not_is_an_error_of_the_connection() -> None:
    with pytest.raises(httpx.ConnectError):
        await sent("http://no-such-host.invalid/")


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that requests trust."""
    made = trustme.CA()
    trusting = ssl.create_default_context()
    made.configure_trust(trusting)
    monkeypatch.setattr(requests, "_tls", lambda: trusting)
    return made


async def test_the_certificate_is_checked_against_the_name(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.1")
    with Receiver() as receiver:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME).configure_cert(serving)
        receiver.secure(serving)
        assert await sent(f"https://{NAME}:{receiver.port}/hook") == 204
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await sent(f"https://other.example:{receiver.port}/hook")
        assert len(receiver.received) == 1


async def test_a_name_server_that_hangs_for_one_project_does_not_delay_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, resolve, hanging = threading.Event(), socket.getaddrinfo, []

    def look_up(host: str, port: Any, **wanted: Any) -> Any:
        if host == NAME:
            hanging.append(host)
            released.wait(30)
        return resolve("127.0.0.1", port, **wanted)

    monkeypatch.setattr(requests, "literal", lambda host: None)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    lookups = Lookups()
    slow = [asyncio.create_task(lookups.addresses("shop", NAME)) for _ in range(100)]
    try:
        assert [str(address) for address in await lookups.addresses("local", "quick.example")] == ["127.0.0.1"]
        for task in slow[:50]:
            task.cancel()
        assert [str(address) for address in await lookups.addresses("local", "quick.example")] == ["127.0.0.1"]
        assert len(hanging) == 2
    finally:
        released.set()
    found = await asyncio.gather(*slow, return_exceptions=True)
    assert sum(isinstance(result, list) for result in found) == 50
