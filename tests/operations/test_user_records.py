"""The record of accounts and passwords through the tasks that change it."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from cachewright.errors import ApiError
from cachewright.model.accounts import Account, AccountChange, PasswordChange
from cachewright.model.instances import Instance
from cachewright.operations.requests import AccountRequest, NewAccount, PasswordRequest
from cachewright.operations.user_records import after_failure, after_success
from cachewright.operations.users import (
    CHANGE_ACCOUNT,
    CHANGE_PASSWORD,
    CREATE_ACCOUNT,
    DELETE_ACCOUNT,
    MOST_ACCOUNTS,
)
from cachewright.valkey.acl import hashed
from cachewright.valkey.users import changes, users_of
from database_fixtures import a_task, an_instance

OF_ACCOUNT = a_task(params={"account_id": "a"})


def an_account(**members: Any) -> Account:
    plain: dict[str, Any] = {
        "id": "a",
        "name": "reports",
        "role": "read",
        "password_hash": hashed("Password-1"),
        "description": "",
        "status": "AVAILABLE",
        "created_at": 1,
    }
    return Account(**plain | members)


def with_account(**members: Any) -> Instance:
    return an_instance(accounts=(an_account(**members),))


def names_on_nodes(instance: Instance) -> set[str]:
    return {user.name for user in users_of(instance)}


def test_an_account_is_on_nodes_from_the_end_of_its_creation_to_the_end_of_its_deletion() -> None:
    new = with_account(status="CREATING", on_nodes=False, pending=AccountChange(task_id="t"))
    assert names_on_nodes(new) == {"default"}
    failed = after_failure(new, OF_ACCOUNT)
    assert failed.accounts[0].status == "CREATEFAILED"
    assert names_on_nodes(failed) == {"default"}
    for before in (new, failed):
        created = after_success(before, OF_ACCOUNT)
        assert created
        assert (created.accounts[0].status, created.accounts[0].pending) == ("AVAILABLE", None)
        assert names_on_nodes(created) == {"default", "reports"}
    unborn = with_account(status="DELETING", on_nodes=False, pending=AccountChange(task_id="t", deletes=True))
    assert names_on_nodes(after_failure(unborn, OF_ACCOUNT)) == {"default"}, "a deletion that fails creates nothing"
    leaving = with_account(status="DELETING", pending=AccountChange(task_id="t", deletes=True))
    assert names_on_nodes(leaving) == {"default", "reports"}
    assert after_failure(leaving, OF_ACCOUNT).accounts[0].status == "DELETEFAILED"
    gone = after_success(leaving, OF_ACCOUNT)
    assert gone
    assert gone.accounts == ()


def test_a_change_that_failed_leaves_the_account_as_it_was_and_can_be_repeated() -> None:
    change = AccountChange(task_id="t", role="write", password_hash="h")  # no password
    failed = after_failure(with_account(status="UPDATING", pending=change), OF_ACCOUNT)
    (account,) = failed.accounts
    assert (account.status, account.role, account.password_hash) == ("ERROR", "read", hashed("Password-1"))
    repeated = after_success(failed, OF_ACCOUNT)
    assert repeated
    (account,) = repeated.accounts
    assert (account.status, account.role, account.password_hash) == ("AVAILABLE", "write", "h")


def test_a_task_makes_no_change_that_a_later_one_has_replaced() -> None:
    later = with_account(status="UPDATING", pending=AccountChange(task_id="later", role="write"))
    assert after_success(later, OF_ACCOUNT) is None
    assert after_failure(later, OF_ACCOUNT) == later
    assert after_success(an_instance(), OF_ACCOUNT) is None
    assert after_success(an_instance(pending_password=PasswordChange("later", "x")), a_task()) is None
    assert after_success(an_instance(), a_task()) is None


def test_a_password_and_disabled_commands_are_recorded() -> None:
    pending = an_instance(password="old", pending_password=PasswordChange("t", None))  # no password
    changed = after_success(pending, a_task())
    assert changed
    assert (changed.password, changed.pending_password) == (None, None)
    assert after_failure(pending, a_task()) == pending
    disabled = after_success(changed, a_task(params={"disabled_commands": ["keys"]}))
    assert disabled
    assert disabled.disabled_commands == ("keys",)
    assert "-keys" in users_of(disabled)[0].rules


def refused(operation: Any, instance: Instance, request: Any) -> str:
    with pytest.raises(ApiError) as error:
        operation.validate(instance, [], request)
    return error.value.code


def a_new(name: str) -> NewAccount:
    return NewAccount(id="n", name=name, role="read", password="Password-1", description="")  # of no one


def test_requests_that_the_record_does_not_allow_are_refused() -> None:
    instance = with_account()
    taken = {"reports": "DCS.4062", "default": "DCS.4062", "Cachewright": "DCS.4062"}
    assert {name: refused(CREATE_ACCOUNT, instance, a_new(name)) for name in taken} == taken
    CREATE_ACCOUNT.validate(instance, [], a_new("Reports"))
    full = tuple(an_account(id=str(number), name=f"n{number}") for number in range(MOST_ACCOUNTS))
    assert refused(CREATE_ACCOUNT, an_instance(accounts=full), a_new("more")) == "DCS.4039"
    unknown = AccountRequest(account_id="x")
    assert {refused(one, instance, unknown) for one in (CHANGE_ACCOUNT, DELETE_ACCOUNT)} == {"DCS.4980"}
    for status in ("CREATING", "UPDATING", "DELETING"):
        busy = with_account(status=status)
        known = AccountRequest(account_id="a")
        assert {refused(one, busy, known) for one in (CHANGE_ACCOUNT, DELETE_ACCOUNT)} == {"DCS.4026"}
    unborn = with_account(status="CREATEFAILED", on_nodes=False)
    assert refused(CHANGE_ACCOUNT, unborn, AccountRequest(account_id="a")) == "DCS.4026"
    others = an_instance(accounts=(an_account(), an_account(id="b", name="b", status="UPDATING")))
    assert refused(DELETE_ACCOUNT, others, AccountRequest(account_id="a")) == "DCS.4026"
    CHANGE_ACCOUNT.validate(others, [], AccountRequest(account_id="a"))
    DELETE_ACCOUNT.validate(unborn, [], AccountRequest(account_id="a"))
    wrong = AccountRequest(account_id="a", password="n", old_password="Password-2")  # of no one
    assert refused(CHANGE_ACCOUNT, instance, wrong) == "DCS.4080"
    exposed = an_instance(password="p", address="192.0.2.1")  # of no one
    assert refused(CHANGE_PASSWORD, exposed, PasswordRequest(None)) == "DCS.4843"
    CHANGE_PASSWORD.validate(exposed, [], PasswordRequest("n"))
    assert refused(CHANGE_PASSWORD, an_instance(password="p"), PasswordRequest("n", "q")) == "DCS.4080"  # of no one


def test_parameters_of_tasks_contain_no_secret() -> None:
    instance = with_account()
    requests: Mapping[Any, Any] = {
        CREATE_ACCOUNT: a_new("new"),
        CHANGE_PASSWORD: PasswordRequest("Password-1"),
        CHANGE_ACCOUNT: AccountRequest(account_id="a", password="Password-1"),  # of no one
    }
    for operation, request in requests.items():
        accepted = operation.validate(instance, [], request)
        stored = msgspec.json.encode([msgspec.to_builtins(accepted.params), accepted.details]).decode()
        assert "Password-1" not in stored
        assert hashed("Password-1") not in stored


def test_only_users_that_differ_are_changed() -> None:
    instance = with_account()
    own = f"user cachewright on #{hashed('s')} ~* &* +@all"
    equal = [own, *(f"user {user.line}" for user in users_of(instance))]
    assert changes(equal, users_of(instance)) == {}
    older = [line.replace("~*", "sanitize-payload ~*") for line in equal]
    assert changes(older, users_of(instance)) == {}
    found = changes([own, "user default on nopass ~* &* +@all", "user stray off"], users_of(instance))
    assert {name: command[:3] for name, command in found.items()} == {
        "default": ("ACL", "SETUSER", "default"),
        "reports": ("ACL", "SETUSER", "reports"),
        "stray": ("ACL", "DELUSER", "stray"),
    }
