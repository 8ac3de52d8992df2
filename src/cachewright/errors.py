"""The one table of error codes: what a caller reads, what it means, what to do. `docs/errors.md` is rendered from it.

Codes of the cloud keep the cloud's meaning; DCS.4958 to DCS.4977 and DCS.9xxx are this project's own, on
numbers that the cloud has not published. The last ones end tasks, or say why an instance is in ERROR: they appear as
the `error_code` of a sub-step or an instance, and those of status 0 never as an HTTP answer.
"""

from string import Formatter
from typing import Any

import msgspec

MESSAGE_LIMIT = 1024


class Row(msgspec.Struct, frozen=True):
    """`status` is the HTTP status; 0 for codes of tasks and instances alone. `message` may name fields in braces."""

    code: str
    status: int
    message: str
    remedy: str


_ROWS = (
    Row("DCS.1001", 401, "The credentials are not valid.",
        "Check access key, secret key and the signing of the request."),
    Row("DCS.1002", 401, "The signature or token has expired.",
        "Set the clock right; X-Sdk-Date may be 15 minutes off."),
    Row("DCS.1003", 401, "The request carries no credentials.", "Sign it with SDK-HMAC-SHA256, or send X-Auth-Token."),
    Row("DCS.1004", 401, "The credentials belong to another project.",
        "Use the id of a project where the user has a role; a token is good for one project."),
    Row("DCS.2007", 403, "The role {role} may not do {action}.", "Ask an operator of the server for another role."),
    Row("DCS.3022", 404, "The instance does not exist.", "List the instances; it may have been deleted."),
    Row("DCS.4001", 404, "No such URL.", "Check path and spelling."),
    Row("DCS.4004", 400, "The body is empty.", "Send the JSON body that the operation needs."),
    Row("DCS.4005", 400, "The body is not JSON: {reason}", "Send UTF-8 JSON."),
    Row("DCS.4006", 400, "engine is not supported: {reason}", "Ask for Redis."),
    Row("DCS.4007", 400, "This type of instance is not supported: {reason}",
        "Ask for a cluster flavor; see ListFlavors."),
    Row("DCS.4008", 400, "engine_version is not supported: {reason}", "Ask for one that ListFlavors names."),
    Row("DCS.4010", 400, "name is not valid: {reason}", "4 to 64 letters, digits, - and _, a letter first."),
    Row("DCS.4011", 400, "description is not valid: {reason}",
        "At most 1024 characters, and no control characters but newlines and tabs."),
    Row("DCS.4012", 400, "capacity is not valid: {reason}", "Give the capacity that the spec code stands for."),
    Row("DCS.4013", 400, "vpc_id is not valid: {reason}", "Give any name of a network, such as local."),
    Row("DCS.4014", 400, "security_group_id is not valid: {reason}", "Leave it out, or give any name of a group."),
    Row("DCS.4016", 400, "subnet_id is not valid: {reason}", "Give any name of a subnet, such as local."),
    Row("DCS.4019", 400, "password is too simple: {reason}",
        "8 to 32 characters, 3 of lower case, upper case, digits and punctuation."),
    Row("DCS.4025", 400, "end_time is before start_time.", "Exchange them."),
    Row("DCS.4026", 400, "Not allowed in the instance's present state.", "Wait until its task has ended."),
    Row("DCS.4035", 400, "The quota of instances is used up: {reason}", "Delete an instance, or ask for fewer."),
    Row("DCS.4036", 400, "There is not enough memory left: {reason}",
        "Ask for less, delete an instance, or see docs/capacity.md."),
    Row("DCS.4039", 400, "A limit is reached: {reason}", "Ask for fewer nodes, or delete an instance."),
    Row("DCS.4049", 400, "The instance is not running.", "Look at its status; an instance in ERROR can be deleted."),
    Row("DCS.4060", 400, "An instance of this name exists.", "Take another name."),
    Row("DCS.4061", 400, "The instance id is malformed.", "Send the UUID that the list shows."),
    Row("DCS.4062", 400, "Parameter {parameter} is not valid: {reason}", "Correct the parameter."),
    Row("DCS.4065", 400, "instances is not valid: {reason}", "Name at least one instance, or send all_failure=true."),
    Row("DCS.4066", 400, "Parameter {parameter} of the configuration is not valid: {reason}",
        "Take names, ids and ranges from ListConfigurations. Where a task ends with it, its message names the node "
        "that refused; all nodes have their old values."),
    Row("DCS.4070", 400, "The task id is malformed.", "Send the 32 hexadecimal digits that the list shows."),
    Row("DCS.4095", 400, "instance_backup_policy is not valid: {reason}", "Leave it out."),
    Row("DCS.4097", 400, "The instance is being restored.", "Wait, then ask again."),
    Row("DCS.4099", 400, "The instance cannot be deleted now.", "Wait until it is created or restarted."),
    Row("DCS.4100", 400, "More than 50 instances are named.", "Send several requests."),
    Row("DCS.4102", 400, "This change of size is not supported: {reason}",
        "Keep type, processor and replicas as they are."),
    Row("DCS.4103", 400, "This change of size is not supported: {reason}",
        "Ask for another number or size of shards."),
    Row("DCS.4106", 400, "The maintenance window is not valid: {reason}",
        "Give maintain_begin and maintain_end as HH:00:00, or neither."),
    Row("DCS.4111", 400, "The instance is being restarted.", "Wait, then ask again."),
    Row("DCS.4113", 400, "The instance is being resized.", "Follow its task EXTEND, then ask again."),
    Row("DCS.4114", 400, "The parameters of the instance are being changed.",
        "Follow its task UpdateInstanceConfig, then ask again."),
    Row("DCS.4118", 400, "The instance is being created.", "Follow its task CreateInstance, then ask again."),
    Row("DCS.4202", 400, "enable_ssl is not valid: {reason}", "Leave it out."),
    Row("DCS.4843", 400, "no_password_access is not valid: {reason}", "Send true or false."),
    Row("DCS.4844", 400, "access_user is not valid: {reason}", "Leave it out; it is for Memcached."),
    Row("DCS.4845", 400, "password is not valid: {reason}", "Send one, or no_password_access true; not both."),
    Row("DCS.4927", 400, "spec_code is not valid: {reason}", "Take one from ListFlavors."),
    Row("DCS.4930", 400, "node_list is not valid: {reason}", "Leave it out."),
    Row("DCS.4933", 400, "available_zones is not valid: {reason}", "Leave it out."),
    Row("DCS.4957", 400, "Not allowed in the task's present state.", "Wait until the task has ended."),
    Row("DCS.4958", 404, "The task does not exist.", "List the instance's tasks; its record may have been deleted."),
    Row("DCS.4959", 404, "Operation {operation} of the cloud is not served here.",
        "See docs/coverage.md for what is."),
    Row("DCS.5001", 405, "The method is not allowed here.", "Check method and path."),
    Row("DCS.4960", 413, "The body is too large.", "Send at most 12 MB, and for a token 16 KB."),
    Row("DCS.4962", 429, "Too many requests.", "Wait for as long as Retry-After says, and ask less often."),
    Row("DCS.4963", 415, "The body is not declared as JSON.", "Send Content-Type: application/json."),
    Row("DCS.4964", 431, "The headers are larger than 16 KB, or more than 64.", "Send fewer."),
    Row("DCS.4965", 414, "Path and query are longer than 8 KB.", "Ask for less in one request."),
    Row("DCS.4968", 408, "The body did not arrive within 60 seconds.", "Look at the network; ask again."),
    Row("DCS.4969", 403, "The request is not the console's own.", "Load the console again and sign in."),
    Row("DCS.4974", 503, "Too many requests of the project wait.",
        "Wait for as long as Retry-After says, and ask less often."),
    Row("DCS.4975", 408, "The client closed the connection before the answer.", "Keep it open for longer."),
    Row("DCS.4966", 400, "The project has 10 webhooks.", "Delete one."),
    Row("DCS.4967", 404, "The webhook does not exist.", "List the webhooks."),
    Row("DCS.4961", 503, "The database takes no changes now. Nothing was changed.",
        "Ask again. On the server: look for a full disk, or for who holds `cachewright.db`."),
    Row("DCS.4976", 429, "Too many event streams are open.",
        "Close some, or ask again after Retry-After; or ask for the progress without a stream."),
    Row("DCS.4977", 503, "The server holds as many request bodies as it may.", "Ask again after Retry-After."),
    Row("DCS.5000", 500, "Internal error {request_id}.", "Look for the id in the server's log."),
    Row("DCS.4842", 0, "A sub-step met something it was not made for.", "Look for the task id in the server's log."),
    Row("DCS.9001", 0, "A node did not start.",
        "Its log's last lines are in detail: a taken port, a full disk, a damaged file."),
    Row("DCS.9002", 0, "A migration's target ran out of memory.", "Ask for larger shards or more of them."),
    Row("DCS.9003", 0, "A migration lost its source or its target.", "Ask for the same resize again; it goes on."),
    Row("DCS.9004", 0, "The cluster was not whole in time.",
        "Look which node does not answer; ask again when it does."),
    Row("DCS.9005", 0, "The migration was cancelled.", "Ask for the same resize again; it goes on."),
    Row("DCS.9006", 0, "A sub-step had no end within its limit.", "Look which node hangs; ask again."),
    Row("DCS.9007", 400, "There is not enough disk left: {reason}", "Free space on the host, then ask again."),
    Row("DCS.9008", 0, "The shards that stay would be too full.", "Delete data, or keep more shards."),
    Row("DCS.9009", 0, "The cluster has a member that is not the instance's.",
        "It is forgotten. See A cluster in docs/failure-modes.md: data may be lost and secrets known."),
    Row("DCS.9010", 0, "The cluster is not healthy.",
        "The log says what is wrong; see A cluster in docs/failure-modes.md for each case."),
    Row("DCS.9011", 0, "A node does not accept the control plane.",
        "Its users were changed; see A cluster in docs/failure-modes.md."),
)  # fmt: skip
ERRORS = {row.code: row for row in _ROWS}


class Refusal(Exception):
    """A request is refused, with a row of the table.

    :ivar fields: what the row's message names: `parameter`, `reason`, ...
    """

    def __init__(self, code: str, **fields: Any) -> None:
        self.row = ERRORS[code]
        self.code = code
        self.fields = fields
        super().__init__(f"{code}: {self.message}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _refusal, (self.code, self.fields)

    @property
    def message(self) -> str:
        named = {name: "" for _, name, _, _ in Formatter().parse(self.row.message) if name}
        return self.row.message.format(**{**named, **self.fields})[:MESSAGE_LIMIT]


def _refusal(code: str, fields: dict[str, Any]) -> Refusal:
    """A pickled refusal, read back."""
    return Refusal(code, **fields)


def render() -> str:
    """The table as the page `docs/errors.md`."""
    lines = [
        "# Error codes",
        "",
        "Every answer that is not a success has this body: `error_code`, `error_msg` (at most 1024 characters) and",
        "`error_ext_msg` (null). A task that failed carries a code in its record and in the sub-step that failed, an",
        "instance in ERROR in its record; those rows have no HTTP status. This page is rendered from",
        "`src/cachewright/errors.py`.",
        "",
        "| code | HTTP | message | what to do |",
        "|---|---|---|---|",
    ]
    rows = sorted(_ROWS, key=lambda row: row.code)
    lines += [f"| `{row.code}` | {row.status or '-'} | {row.message} | {row.remedy} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # this is how the page is made
