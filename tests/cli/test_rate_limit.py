"""Rate limit of one key on a real server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving import COMMAND, Server

PATIENT = 5
LIMITED = (*COMMAND, "--rate-limit", f"{PATIENT}/minute")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", LIMITED)
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def test_a_key_that_asks_too_often_is_told_when_to_ask_again(limited: Server) -> None:
    with httpx.Client(timeout=60) as http:
        answers = [http.send(limited.signed("GET", "instances")) for _ in range(PATIENT + 1)]
        forged = limited.signed("GET", "instances")
        forged.headers["Authorization"] = forged.headers["Authorization"][:-4] + "0000"
        assert http.send(forged).status_code == 401, "who has not the secret uses nothing of the key's rate"
    assert [answer.status_code for answer in answers] == [200] * PATIENT + [429]
    assert answers[-1].json()["error_code"] == "DCS.4962"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


@pytest.mark.parametrize("rate", ["", "fast", "5", "/second", "0/second"])
def test_what_is_no_rate_is_told(tmp_path: Path, rate: str) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, "--rate-limit", rate)).refusal()
    assert (code, "invalid rate" in said) == (1, True)
