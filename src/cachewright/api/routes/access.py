"""Access to an instance: its password, its accounts and its disabled commands."""

import uuid

from litestar import Response, delete, get, post, put

from cachewright.api import requests, responses
from cachewright.api.access_validation import (
    account_password_change,
    account_password_reset,
    new_account,
    password_change,
    password_reset,
    remark,
)
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Access, AccountId, Body, Call, InstanceId, endpoint
from cachewright.api.schemas import access as schemas
from cachewright.operations.requests import AccountRequest

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"
_ACCOUNT = _INSTANCE + "/accounts/{account_id:str}"


@put(_INSTANCE + "/password", status_code=200, opt=needs("dcs:instance:modifyAuthInfo"))
@endpoint
def update_password(
    request: Call, access: Access, instance_id: InstanceId, body: Body[schemas.PasswordBody]
) -> Response[schemas.PasswordChanged]:
    """UpdatePassword: starts a background task that changes the password on every node. A wrong old password is a
    `result`, not an error."""
    principal = requests.principal(request)
    access.show(principal, instance_id)
    return responses.json(schemas.changed(access.change_password(principal, instance_id, password_change(body.read()))))


@post(_INSTANCE + "/password/reset", status_code=200, opt=needs("dcs:instance:resetAuthInfo"))
@endpoint
def reset_password(
    request: Call, access: Access, instance_id: InstanceId, body: Body[schemas.ResetBody]
) -> Response[schemas.PasswordReset]:
    """ResetPassword: like UpdatePassword, without the old password; or clients need none any more."""
    principal = requests.principal(request)
    access.show(principal, instance_id)
    return responses.json(schemas.reset(access.change_password(principal, instance_id, password_reset(body.read()))))


@get(_INSTANCE + "/accounts", opt=needs("dcs:aclaccount:list"))
@endpoint
def list_acl_accounts(request: Call, access: Access, instance_id: InstanceId) -> Response[schemas.AccountList]:
    """ListAclAccounts: the default account and all others."""
    return responses.json(schemas.account_list(access.show(requests.principal(request), instance_id)))


@post(_INSTANCE + "/accounts", status_code=200, opt=needs("dcs:aclaccount:create"))
@endpoint
def create_acl_account(
    request: Call, access: Access, instance_id: InstanceId, body: Body[schemas.AccountBody]
) -> Response[schemas.Accepted]:
    """CreateAclAccount: starts a background task that adds the account to every node."""
    principal = requests.principal(request)
    access.show(principal, instance_id)
    account = new_account(body.read(), str(uuid.uuid4()))
    access.create_account(principal, instance_id, account)
    name_subjects(request, [instance_id, account.id])
    return responses.json(schemas.Accepted())


@delete(_ACCOUNT, status_code=200, opt=needs("dcs:aclaccount:delete"))
@endpoint
def delete_acl_account(
    request: Call, access: Access, instance_id: InstanceId, account_id: AccountId
) -> Response[schemas.Accepted]:
    """DeleteAclAccount: starts a background task. Connections of the account are closed."""
    access.delete_account(requests.principal(request), instance_id, account_id)
    return responses.json(schemas.Accepted())


@put(_ACCOUNT, status_code=204, opt=needs("dcs:aclaccount:modify"))
@endpoint
def update_acl_account_remark(
    request: Call, access: Access, instance_id: InstanceId, account_id: AccountId, body: Body[schemas.RemarkBody]
) -> Response[None]:
    """UpdateAclAccountRemark: changes the description."""
    principal = requests.principal(request)
    access.account(principal, instance_id, account_id)
    access.describe_account(principal, instance_id, account_id, remark(body.read()))
    return responses.no_content()


@put(_ACCOUNT + "/role", status_code=200, opt=needs("dcs:aclaccount:modify"))
@endpoint
def update_acl_account(
    request: Call, access: Access, instance_id: InstanceId, account_id: AccountId, body: Body[schemas.RoleBody]
) -> Response[schemas.RoleChanged]:
    """UpdateAclAccount: starts a background task that changes the role. Open connections have the new rights."""
    principal = requests.principal(request)
    access.account(principal, instance_id, account_id)
    change = AccountRequest(account_id=account_id, role=body.read().account_role)
    task = access.change_role(principal, instance_id, change)
    return responses.json(schemas.RoleChanged(instance_id, task.id))


@put(_ACCOUNT + "/password/modify", status_code=200, opt=needs("dcs:aclaccount:modify"))
@endpoint
def update_acl_account_pass_word(
    request: Call, access: Access, instance_id: InstanceId, account_id: AccountId, body: Body[schemas.PasswordBody]
) -> Response[schemas.PasswordChanged]:
    """UpdateAclAccountPassWord: starts a background task. A wrong old password is a `result`, not an error."""
    principal = requests.principal(request)
    account = access.account(principal, instance_id, account_id)
    change = account_password_change(body.read(), account)
    return responses.json(schemas.changed(access.change_account_password(principal, instance_id, change)))


@put(_ACCOUNT + "/password/reset", status_code=200, opt=needs("dcs:aclaccount:modify"))
@endpoint
def reset_acl_account_pass_word(
    request: Call, access: Access, instance_id: InstanceId, account_id: AccountId, body: Body[schemas.NewPasswordBody]
) -> Response[schemas.PasswordReset]:
    """ResetAclAccountPassWord: like UpdateAclAccountPassWord, without the old password."""
    principal = requests.principal(request)
    account = access.account(principal, instance_id, account_id)
    change = account_password_reset(body.read(), account)
    return responses.json(schemas.reset(access.change_account_password(principal, instance_id, change)))


@get(_INSTANCE + "/rename-commands", opt=needs("dcs:instance:getConfiguration"))
@endpoint
def show_renamed_commands(request: Call, access: Access, instance_id: InstanceId) -> Response[schemas.RenamedCommands]:
    """The commands that clients of the instance may not use, because `rename_commands` has disabled them."""
    instance = access.show(requests.principal(request), instance_id)
    return responses.json(schemas.RenamedCommands(list(instance.disabled_commands)))
