"""Passwords and accounts on real nodes: on every one, for those that join, restart, freeze, or are changed by hand."""

from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import (
    AclAccountModifyPasswordBody,
    AclAccountResetPasswordBody,
    AclAccountRoleModifyBody,
    CreateAclAccountRequest,
    CreateAclAccountRequestBody,
    DeleteAclAccountRequest,
    ListAclAccountsRequest,
    ModifyInstanceBody,
    ModifyInstancePasswordBody,
    ResetAclAccountPassWordRequest,
    ResetInstancePasswordBody,
    ResetPasswordRequest,
    UpdateAclAccountPassWordRequest,
    UpdateAclAccountRemarkRequest,
    UpdateAclAccountRemarkRequestBody,
    UpdateAclAccountRequest,
    UpdateInstanceRequest,
    UpdatePasswordRequest,
)
from test_parameter_changes import ports, process
from test_restart import restart
from valkey import Valkey
from valkey.exceptions import AuthenticationError, NoPermissionError, ValkeyError

from caches import operator_of
from sdk_calls import PASSWORD, created, ended, newest_task, resize
from serving import Server, freeze, thaw, until

NEW, THIRD = "New-password-2", "Third-password-3"


def link(port: int, password: str | None, user: str | None = None) -> Valkey:
    return Valkey(
        host="127.0.0.1", port=port, username=user, password=password, decode_responses=True, socket_timeout=10
    )


def send(node: Valkey, *words: str) -> Any:
    return node.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped


def admits(port: int, password: str | None, user: str | None = None) -> bool:
    with link(port, password, user) as node:
        try:
            return bool(node.ping())
        except (AuthenticationError, ValkeyError):
            return False


def has(nodes: list[int], password: str | None, *others: str, user: str | None = None) -> bool:
    """Whether every node admits this password, and none of the others."""
    return all(admits(port, password, user) for port in nodes) and not any(
        admits(port, other, user) for port in nodes for other in others
    )


def done(client: Any, instance_id: str) -> None:
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"


def change_password(client: Any, instance_id: str, old: str, new: str) -> None:
    body = ModifyInstancePasswordBody(old_password=old, new_password=new)
    assert client.update_password(UpdatePasswordRequest(instance_id=instance_id, body=body)).result == "success"


def reset_password(client: Any, instance_id: str, **body: Any) -> None:
    request = ResetPasswordRequest(instance_id=instance_id, body=ResetInstancePasswordBody(**body))
    assert client.reset_password(request).code == "1"


def synchronizations(server: Server, nodes: list[int]) -> list[int]:
    """Full synchronizations that each node has served: one more means that replication was interrupted."""
    found = []
    for port in nodes:
        with operator_of(server, "127.0.0.1", port) as node:
            found.append(node.info("stats")["sync_full"])
    return found


@pytest.fixture
def replicated(own_server: Server) -> tuple[Any, str, list[int]]:
    """A client, the id of an instance of one shard with a replica, and the ports of its nodes."""
    client = own_server.client()
    instance_id = created(client, 1, copies=2)
    return client, instance_id, ports(own_server, instance_id)


def test_a_password_changes_without_a_cut_and_reaches_nodes_that_were_away(
    own_server: Server, replicated: tuple[Any, str, list[int]]
) -> None:
    client, instance_id, nodes = replicated
    before = synchronizations(own_server, nodes)
    links = [link(port, PASSWORD) for port in nodes]
    numbers = [one.client_id() for one in links]
    change_password(client, instance_id, PASSWORD, NEW)
    done(client, instance_id)
    assert has(nodes, NEW, PASSWORD)
    assert [one.client_id() for one in links] == numbers, "connections stay"
    reset_password(client, instance_id, no_password_access=True)
    done(client, instance_id)
    assert has(nodes, None)
    reset_password(client, instance_id, new_password=PASSWORD, no_password_access=False)
    done(client, instance_id)
    assert has(nodes, PASSWORD, NEW)
    assert [one.client_id() for one in links] == numbers
    assert synchronizations(own_server, nodes) == before, "replication stays"

    frozen = process(own_server, nodes[1])
    freeze(frozen)
    try:
        change_password(client, instance_id, PASSWORD, NEW)
        done(client, instance_id)
        assert has(nodes[:1], NEW, PASSWORD)
    finally:
        thaw(frozen)
    until(lambda: has(nodes, NEW, PASSWORD), "the node has not got the password")

    victim = process(own_server, nodes[1])
    victim.kill()
    until(lambda: not victim.is_running() and has(nodes, NEW, PASSWORD), "it was started with another password")
    own_server.kill()
    with operator_of(own_server, "127.0.0.1", nodes[0]) as node:
        node.execute_command("ACL", "SETUSER", "default", ">Stray-password-9")
        node.execute_command("ACL", "SETUSER", "stray", "on", "nopass", "+@all")
    assert admits(nodes[0], "Stray-password-9")
    own_server.start()
    until(lambda: has(nodes, NEW, PASSWORD, "Stray-password-9"), "the node was not corrected")
    until(lambda: not admits(nodes[0], "any", "stray"), "the user is still there")
    until(lambda: "had other users than recorded" in own_server.log(), "the log has no line about the correction")
    for secret in (NEW, PASSWORD):
        assert secret not in own_server.log()
        for file in (own_server.data_dir / "nodes").glob("*/*.conf"):
            assert secret not in file.read_text()


def test_a_password_is_the_same_everywhere_after_the_server_was_killed_in_its_change(
    own_server: Server, replicated: tuple[Any, str, list[int]]
) -> None:
    client, instance_id, nodes = replicated
    frozen = process(own_server, nodes[1])
    freeze(frozen)  # so that the change is not over before the server is killed
    try:
        change_password(client, instance_id, PASSWORD, NEW)
        until(lambda: admits(nodes[0], NEW), "the first node is not changed")
        own_server.kill()
    finally:
        thaw(frozen)
    own_server.start()
    client = own_server.client()
    done(client, instance_id)
    until(lambda: has(nodes, NEW, PASSWORD), "the nodes differ")

    for port in nodes:
        with operator_of(own_server, "127.0.0.1", port) as node:
            node.execute_command("ACL", "SETUSER", "cachewright", "-acl|setuser")
    change_password(client, instance_id, NEW, THIRD)
    task = ended(client, instance_id, newest_task(client, instance_id).id)
    record = own_server.call("GET", f"tasks/{task.id}")[1]["task"]
    assert (record["status"], record["error_code"]) == ("FAILED", "DCS.9004")
    assert has(nodes, NEW, THIRD), "no node can be changed"
    for node in [process(own_server, port) for port in nodes]:
        node.kill()  # its next start has the users of its file
    until(lambda: _serve(nodes, NEW), "the nodes do not come back")
    again = f"instances/{instance_id}/tasks/{task.id}/retry"
    until(lambda: own_server.call("POST", again)[0] == 200, "the task cannot be retried")
    assert ended(client, instance_id, task.id).status == "SUCCESS"
    assert has(nodes, THIRD, NEW)


def _serve(nodes: list[int], password: str) -> bool:
    try:
        return has(nodes, password)
    except (OSError, psutil.Error):
        return False


class Accounts:
    """Accounts of one instance, by the cloud's own client."""

    def __init__(self, client: Any, instance_id: str) -> None:
        self.client = client
        self.instance_id = instance_id

    def listed(self) -> dict[str, Any]:
        found = self.client.list_acl_accounts(ListAclAccountsRequest(instance_id=self.instance_id)).accounts
        return {account.account_name: account for account in found}

    def create(self, name: str, role: str) -> None:
        body = CreateAclAccountRequestBody(account_name=name, account_role=role, account_password=PASSWORD)
        self.client.create_acl_account(CreateAclAccountRequest(instance_id=self.instance_id, body=body))
        self.wait(name)

    def of(self, name: str) -> dict[str, str]:
        return {"instance_id": self.instance_id, "account_id": self.listed()[name].account_id}

    def wait(self, name: str) -> None:
        until(lambda: self.listed()[name].status == "AVAILABLE", f"{name} is not available")


def test_accounts_have_their_rights_on_every_node_now_and_later(server: Server, client: Any) -> None:
    instance_id = created(client, 1, rename_commands={"keys": ""})
    accounts = Accounts(client, instance_id)
    accounts.create("reports", "read")
    accounts.create("shop", "write")
    (port,) = ports(server, instance_id)
    reader, writer = link(port, PASSWORD, "reports"), link(port, PASSWORD, "shop")
    assert writer.set("key", "value")
    assert reader.get("key") == "value"
    for user in (reader, writer, link(port, PASSWORD)):
        with pytest.raises(NoPermissionError):
            user.keys("*")
    for attempt in (("SET", "key", "x"), ("DEL", "key"), ("FLUSHALL",), ("PUBLISH", "channel", "x")):
        with pytest.raises(NoPermissionError):
            send(reader, *attempt)
    with pytest.raises(ValkeyError, match="permission"):
        reader.eval("return server.call('SET', KEYS[1], 'x')", 1, "key")
    assert reader.eval("return server.call('GET', KEYS[1])", 1, "key") == "value"
    accounts.client.update_acl_account(
        UpdateAclAccountRequest(**accounts.of("reports"), body=AclAccountRoleModifyBody(account_role="write"))
    )
    accounts.wait("reports")
    assert reader.set("key", "other"), "an open connection has the new rights"
    body = AclAccountModifyPasswordBody(old_password=PASSWORD, new_password=NEW)
    assert (
        client.update_acl_account_pass_word(UpdateAclAccountPassWordRequest(**accounts.of("reports"), body=body)).result
        == "success"
    )
    accounts.wait("reports")
    reset = AclAccountResetPasswordBody(new_password=THIRD)
    client.reset_acl_account_pass_word(ResetAclAccountPassWordRequest(**accounts.of("shop"), body=reset))
    accounts.wait("shop")
    remark = UpdateAclAccountRemarkRequestBody(description="sums")
    client.update_acl_account_remark(UpdateAclAccountRemarkRequest(**accounts.of("reports"), body=remark))
    shown = {name: (one.account_role, one.description) for name, one in accounts.listed().items()}
    assert shown == {"default": ("write", ""), "reports": ("write", "sums"), "shop": ("write", "")}

    body = ModifyInstanceBody(rename_commands={"flushall": "", "hgetall": ""})
    client.update_instance(UpdateInstanceRequest(instance_id=instance_id, body=body))
    done(client, instance_id)
    assert reader.keys("*") == ["key"]
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    nodes = ports(server, instance_id)
    assert len(nodes) == 2
    assert has(nodes, NEW, PASSWORD, user="reports")
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert has(nodes, NEW, PASSWORD, user="reports")
    assert has(nodes, THIRD, PASSWORD, user="shop")
    for port in nodes:
        for own in (link(port, PASSWORD), link(port, THIRD, "shop")):
            with pytest.raises(NoPermissionError):
                send(own, "FLUSHALL")

    leaving = link(nodes[0], THIRD, "shop")
    assert leaving.ping()
    number = leaving.client_id()
    client.delete_acl_account(DeleteAclAccountRequest(**accounts.of("shop")))
    done(client, instance_id)
    assert set(accounts.listed()) == {"default", "reports"}
    assert not any(admits(port, THIRD, "shop") for port in nodes)
    with operator_of(server, "127.0.0.1", nodes[0]) as node:
        assert str(number) not in {one["id"] for one in node.client_list()}, "its connections are closed"
