"""Attacks of a client that has an account of its cache: on its data, on the node, on other accounts, on secrets."""

from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import (
    CreateAclAccountRequest,
    CreateAclAccountRequestBody,
    DeleteSingleInstanceRequest,
)
from test_clients_of_caches import ATTACKS
from valkey import Valkey
from valkey.exceptions import AuthenticationError, ResponseError

from cachewright.valkey.acl import hashed
from database_fixtures import stored_bytes
from sdk_calls import PASSWORD, created, ended, newest_task, show
from serving import Server

SECRET = "Account-password-7"
WRITES = (
    "SET key x",
    "DEL key",
    "FLUSHALL",
    "RESTORE other 0 x",
    "SORT list STORE other",
    "FUNCTION FLUSH",
    "SCRIPT FLUSH",
    "PUBLISH channel x",
    "CLIENT UNBLOCK 1",
    "SLOWLOG RESET",
)


@pytest.fixture(scope="module")
def own(client: Any) -> Iterator[str]:
    instance_id = created(client, 1, name="accounts")
    for name, role in (("reader", "read"), ("writer", "write")):
        body = CreateAclAccountRequestBody(account_name=name, account_role=role, account_password=SECRET)
        client.create_acl_account(CreateAclAccountRequest(instance_id=instance_id, body=body))
        assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    yield instance_id
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def link(client: Any, instance_id: str, user: str | None, password: str | None) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(
        host=shown.ip, port=shown.port, username=user, password=password, decode_responses=True, socket_timeout=10
    )


@pytest.mark.parametrize("user", ["reader", "writer"])
def test_an_account_administers_nothing(client: Any, own: str, user: str) -> None:
    with link(client, own, user, SECRET) as attacker:
        for command in ATTACKS:
            words = command.format(port=1, bus_port=2, node_id="a" * 40).split(" ")
            with pytest.raises(ResponseError, match=r"no permissions to run|not allowed"):
                attacker.execute_command(*words)


def test_a_reader_changes_nothing_also_not_by_a_script(client: Any, own: str) -> None:
    with link(client, own, None, PASSWORD) as owner, link(client, own, "reader", SECRET) as reader:
        owner.set("key", "kept")
        for command in WRITES:
            with pytest.raises(ResponseError, match="no permissions to run"):
                reader.execute_command(*command.split(" "))
        for text in ("return server.call('SET', 'key', 'x')", "return server.pcall('DEL', 'key')"):
            with pytest.raises(ResponseError, match=r"(?i)perm"):
                reader.eval(text, 0)
        assert owner.get("key") == "kept"
        assert reader.get("key") == "kept"


def test_no_account_signs_in_with_the_password_of_another_user(server: Server, client: Any, own: str) -> None:
    for user, password in (("cachewright", SECRET), ("default", SECRET), ("reader", PASSWORD), ("nobody", SECRET)):
        with link(client, own, user, password) as attacker, pytest.raises(AuthenticationError):
            attacker.ping()


def test_passwords_and_their_hashes_are_in_no_place_that_others_read(server: Server, client: Any, own: str) -> None:
    places = [
        server.log().encode(),
        stored_bytes(server.data_dir / "cachewright.db"),
        str(server.call("GET", "audit")).encode(),
        str(server.call("GET", f"instances/{own}/accounts")).encode(),
        *(str(server.call("GET", f"tasks/{task['id']}")).encode() for task in server.call("GET", "tasks")[1]["tasks"]),
        *(" ".join(process.info["cmdline"]).encode() for process in server.nodes()),
    ]
    for place in places:
        assert SECRET.encode() not in place
        assert hashed(SECRET).encode() not in place
