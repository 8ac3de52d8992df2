"""The one table of error codes: what a caller reads, what it means, what to do. `docs/errors.md` is rendered from it.

Codes of the cloud keep the cloud's meaning; DCS.4958 to DCS.4977, DCS.4980 and DCS.9xxx are this project's own, on
numbers that the cloud has not published. The last ones end tasks, or say why an instance is in ERROR: they appear as
the `error_code` of a sub-step or an instance, and those of status 0 never as an HTTP answer.

Exceptions, each beside the code that raises it; `tests/test_errors.py` compares this drawing with the classes:

    CachewrightError
    ├── ApiError              errors.py: a request cannot be served
    ├── DatabaseUnavailable   errors.py: the database cannot be read or written
    ├── ActionFailed          tasks/operation.py: a sub-step or a plan cannot be finished
    ├── Postponed             tasks/waiting.py: an attempt waits for a temporary state; not a failure
    ├── NotPrimary            valkey/key_analysis.py: a node is a replica, so its counters of use do not count
    ├── MigrationFailed       valkey/migration/failure.py: one attempt to move slots ended early
    ├── SourceUnusable        valkey/sources/source.py: the source of a migration does not answer, or refuses
    ├── TargetNotReady        valkey/sources/copier.py: a node cannot take keys now
    ├── KeysRefused           valkey/sources/copier.py: a node does not take a key
    ├── JobFailed             jobs/failure.py: a job cannot be finished
    ├── StreamInterrupted     jobs/migrations/failure.py: changes of a gateway may be missing
    ├── NodeStartFailed       hosts/host.py: a node process ended while it started
    ├── NoFreePort            hosts/ports.py: too few ports are free
    ├── NoHost                placement/hosts.py: no host has room for a node
    ├── HostSilent            hosts/calls.py: the agent of a host does not answer
    ├── WrongEnvelope         hosts/envelopes.py: a call was encrypted for another agent
    ├── FirewallFailed        hosts/client_firewall.py: the rules for clients cannot be loaded
    ├── UnusableServer        hosts/server_binary.py: not a supported valkey-server
    ├── InvalidInput          services/accounts.py: a name, password or role is not valid
    ├── BadSignature          signature.py: the signature does not match the request
    ├── OutsideWindow         signature.py: the request was signed too long ago
    ├── AddressNotAllowed     webhooks/requests.py: a webhook names an address that must not be called
    ├── FeedClosed            tasks/feed.py: the server is stopping
    ├── StaleTask             store/tasks.py: another writer has changed the task
    ├── DatabaseNotReady      store/database.py: the database is not this release's, or another server's
    ├── MayNotChangeRoles     store/agent_schemas.py: the role of the servers may not change roles of agents
    ├── StorageFailed         backups/storage.py: the storage of backups does not answer or refuses
    ├── BackupDamaged         backups/storage.py: a backup is missing or was changed
    ├── DiskFailed            jobs/receiver.py: a snapshot cannot be written to the disk
    ├── TooMuchData           jobs/restores.py: the data of a backup is larger than the memory of a node
    ├── DamagedSnapshot       valkey/rdb_check.py: a snapshot file is damaged
    ├── DamagedLog            valkey/append_only_files.py: a file of an append-only log is damaged
    ├── UnreadableSnapshot    valkey/rdb_index.py: the parts of a snapshot file cannot be told apart
    ├── LinkInvalid           backups/links.py: a link to a file of a backup is not one of this server
    ├── LinkExpired           backups/links.py: such a link has expired
    ├── WrongKey              store/encryption.py: secrets were encrypted with another key
    └── StartupError          cli/environment.py: the server cannot start
"""

from string import Formatter
from typing import Any

import msgspec

MESSAGE_LIMIT = 1024


class ErrorRow(msgspec.Struct, frozen=True):
    """`status` is the HTTP status; 0 for codes of tasks and instances alone. `message` may name fields in braces."""

    code: str
    status: int
    message: str
    remedy: str


INVALID_CREDENTIALS = "DCS.1001"
EXPIRED_CREDENTIALS = "DCS.1002"
MISSING_CREDENTIALS = "DCS.1003"
OTHER_PROJECT = "DCS.1004"
PERMISSION_DENIED = "DCS.2007"
INSTANCE_NOT_FOUND = "DCS.3022"
INVALID_NODE_ID = "DCS.3053"
URL_NOT_FOUND = "DCS.4001"
EMPTY_BODY = "DCS.4004"
INVALID_JSON = "DCS.4005"
INVALID_ENGINE = "DCS.4006"
INVALID_INSTANCE_TYPE = "DCS.4007"
INVALID_ENGINE_VERSION = "DCS.4008"
INVALID_NAME = "DCS.4010"
INVALID_DESCRIPTION = "DCS.4011"
INVALID_CAPACITY = "DCS.4012"
INVALID_VPC_ID = "DCS.4013"
INVALID_SECURITY_GROUP_ID = "DCS.4014"
INVALID_SUBNET_ID = "DCS.4016"
WEAK_PASSWORD = "DCS.4019"  # noqa: S105  # an error code
INVALID_TIME_RANGE = "DCS.4025"
INSTANCE_STATE_CONFLICT = "DCS.4026"
NOT_ON_THIS_NODE = "DCS.4027"
BACKUP_NOT_FOUND = "DCS.4031"
INSTANCE_QUOTA_EXCEEDED = "DCS.4035"
NOT_ENOUGH_MEMORY = "DCS.4036"
LIMIT_EXCEEDED = "DCS.4039"
ZONE_NOT_FOUND = "DCS.4042"
INSTANCE_NOT_RUNNING = "DCS.4049"
SAME_VERSION = "DCS.4053"
DUPLICATE_NAME = "DCS.4060"
INVALID_INSTANCE_ID = "DCS.4061"
INVALID_PARAMETER = "DCS.4062"
INVALID_INSTANCES = "DCS.4065"
INVALID_CONFIGURATION = "DCS.4066"
INVALID_TASK_ID = "DCS.4070"
INVALID_SAVE_DAYS = "DCS.4072"
INVALID_BACKUP_TYPE = "DCS.4073"
INVALID_BACKUP_PERIOD = "DCS.4074"
INVALID_BACKUP_DAYS = "DCS.4075"
INVALID_BACKUP_TIME = "DCS.4076"
NOT_PRIMARY_STANDBY = "DCS.4086"
BACKUP_NOT_SUCCEEDED = "DCS.4087"
WRONG_PASSWORD = "DCS.4080"  # noqa: S105  # an error code
INVALID_BACKUP_POLICY = "DCS.4095"
INSTANCE_BACKING_UP = "DCS.4096"
INSTANCE_RESTORING = "DCS.4097"
INVALID_REMARK = "DCS.4098"
INSTANCE_NOT_DELETABLE = "DCS.4099"
TOO_MANY_INSTANCES = "DCS.4100"
UNSUPPORTED_RESIZE = "DCS.4102"
RESIZE_WITHOUT_CHANGE = "DCS.4103"
INSTANCE_RECOVERING = "DCS.4104"
INVALID_MAINTENANCE_WINDOW = "DCS.4106"
INSTANCE_RESTARTING = "DCS.4111"
INSTANCE_RESIZING = "DCS.4113"
INSTANCE_CONFIGURING = "DCS.4114"
INSTANCE_UPGRADING = "DCS.4116"
INSTANCE_CHANGING_PASSWORD = "DCS.4115"  # noqa: S105  # an error code
INSTANCE_CREATING = "DCS.4118"
INVALID_ENABLE_SSL = "DCS.4202"
INVALID_FIRST_SCAN = "DCS.4819"
INVALID_SCAN_INTERVAL = "DCS.4820"
INVALID_SCAN_TIMEOUT = "DCS.4821"
INVALID_SCAN_COUNT = "DCS.4822"
CLIENT_ADDRESSES_UNSUPPORTED = "DCS.4838"
NO_SUCCESSOR = "DCS.4253"
UNEXPECTED_TASK_ERROR = "DCS.4842"
INVALID_NO_PASSWORD_ACCESS = "DCS.4843"  # noqa: S105  # an error code
INVALID_ACCESS_USER = "DCS.4844"
INVALID_PASSWORD = "DCS.4845"  # noqa: S105  # an error code
SWITCHOVER_UNSUPPORTED = "DCS.4855"
UNEXPECTED_NEW_PASSWORD = "DCS.4849"  # noqa: S105  # an error code
PASSWORD_FREE = "DCS.4850"  # noqa: S105  # an error code
ANALYSIS_UNSUPPORTED = "DCS.4919"
INVALID_SPEC_CODE = "DCS.4927"
INVALID_NODE_LIST = "DCS.4930"
NOT_A_REPLICA = "DCS.4931"
INVALID_AVAILABLE_ZONES = "DCS.4933"
INVALID_PRIORITY = "DCS.4939"
HOT_KEY_ANALYSIS_NOT_FOUND = "DCS.4941"
BIG_KEY_ANALYSIS_NOT_FOUND = "DCS.4942"
MIGRATION_NOT_FOUND = "DCS.4133"
TASK_STATE_CONFLICT = "DCS.4957"
TASK_NOT_FOUND = "DCS.4958"
OPERATION_NOT_SERVED = "DCS.4959"
BODY_TOO_LARGE = "DCS.4960"
TEMPLATE_NOT_FOUND = "DCS.4988"
DATABASE_UNAVAILABLE = "DCS.4961"
TOO_MANY_REQUESTS = "DCS.4962"
UNSUPPORTED_MEDIA_TYPE = "DCS.4963"
HEADERS_TOO_LARGE = "DCS.4964"
URL_TOO_LONG = "DCS.4965"
TOO_MANY_WEBHOOKS = "DCS.4966"
WEBHOOK_NOT_FOUND = "DCS.4967"
BODY_TIMEOUT = "DCS.4968"
CROSS_SITE_REQUEST = "DCS.4969"
PROJECT_BUSY = "DCS.4974"
CLIENT_CLOSED_CONNECTION = "DCS.4975"
TOO_MANY_STREAMS = "DCS.4976"
BODY_MEMORY_EXHAUSTED = "DCS.4977"
ACCOUNT_NOT_FOUND = "DCS.4980"
INTERNAL_ERROR = "DCS.5000"
METHOD_NOT_ALLOWED = "DCS.5001"
SWITCHOVER_FAILED = "DCS.5094"
NODE_START_FAILED = "DCS.9001"
MIGRATION_OUT_OF_MEMORY = "DCS.9002"
MIGRATION_INTERRUPTED = "DCS.9003"
CLUSTER_NOT_HEALTHY_IN_TIME = "DCS.9004"
TASK_CANCELLED = "DCS.9005"
SUB_STEP_TIMEOUT = "DCS.9006"
NOT_ENOUGH_DISK = "DCS.9007"
SHARDS_TOO_FULL = "DCS.9008"
FOREIGN_CLUSTER_MEMBER = "DCS.9009"
CLUSTER_UNHEALTHY = "DCS.9010"
CONTROL_PLANE_REJECTED = "DCS.9011"
WRITES_POSSIBLY_LOST = "DCS.9012"
UNEQUAL_NODES = "DCS.9013"
BACKUP_STORAGE_FAILED = "DCS.9014"
BACKUP_DAMAGED = "DCS.9015"
SOURCE_UNUSABLE = "DCS.9020"

_ROWS = (
    ErrorRow(INVALID_CREDENTIALS, 401, "The credentials are not valid.",
        "Check access key, secret key and the signing of the request."),
    ErrorRow(EXPIRED_CREDENTIALS, 401, "The signature or token has expired.",
        "Correct the clock; X-Sdk-Date may differ by at most 15 minutes."),
    ErrorRow(MISSING_CREDENTIALS, 401, "The request carries no credentials.",
        "Sign it with SDK-HMAC-SHA256, or send X-Auth-Token."),
    ErrorRow(OTHER_PROJECT, 401, "The credentials belong to another project.",
        "Use the id of a project where the user has a role; a token is good for one project."),
    ErrorRow(PERMISSION_DENIED, 403, "The role {role} may not do {action}.",
        "Ask an operator of the server for another role."),
    ErrorRow(INSTANCE_NOT_FOUND, 404, "The instance does not exist.", "List the instances; it may have been deleted."),
    ErrorRow(INVALID_NODE_ID, 400, "The instance has no node {node}.", "Take ids of nodes from ShowNodesInformation."),
    ErrorRow(URL_NOT_FOUND, 404, "No such URL.", "Check path and spelling."),
    ErrorRow(EMPTY_BODY, 400, "The body is empty.", "Send the JSON body that the operation needs."),
    ErrorRow(INVALID_JSON, 400, "The body is not JSON: {reason}", "Send UTF-8 JSON."),
    ErrorRow(INVALID_ENGINE, 400, "engine is not supported: {reason}", "Use Redis."),
    ErrorRow(INVALID_INSTANCE_TYPE, 400, "This type of instance is not supported: {reason}",
        "Use a flavor of ListFlavors."),
    ErrorRow(INVALID_ENGINE_VERSION, 400, "engine_version is not supported: {reason}",
        "Use a version of ListFlavors."),
    ErrorRow(INVALID_NAME, 400, "name is not valid: {reason}", "4 to 64 letters, digits, - and _, a letter first."),
    ErrorRow(INVALID_DESCRIPTION, 400, "description is not valid: {reason}",
        "At most 1024 characters, and no control characters but newlines and tabs."),
    ErrorRow(INVALID_CAPACITY, 400, "capacity is not valid: {reason}",
        "Give the capacity that the spec code stands for."),
    ErrorRow(INVALID_VPC_ID, 400, "vpc_id is not valid: {reason}", "Give any name of a network, such as local."),
    ErrorRow(INVALID_SECURITY_GROUP_ID, 400, "security_group_id is not valid: {reason}",
        "Leave it out, or give any name of a group."),
    ErrorRow(INVALID_SUBNET_ID, 400, "subnet_id is not valid: {reason}", "Give any name of a subnet, such as local."),
    ErrorRow(WEAK_PASSWORD, 400, "password is too simple: {reason}",
        "8 to 32 characters, 3 of lower case, upper case, digits and punctuation."),
    ErrorRow(INVALID_TIME_RANGE, 400, "end_time is before start_time.", "Swap start_time and end_time."),
    ErrorRow(INSTANCE_STATE_CONFLICT, 400, "Not allowed in the instance's present state.",
        "Wait until its task has ended."),
    ErrorRow(NOT_ON_THIS_NODE, 400, "Not possible on this node: {reason}", "The message names the way out."),
    ErrorRow(BACKUP_NOT_FOUND, 400, "The backup does not exist.", "List the backups; it may have been deleted."),
    ErrorRow(INSTANCE_QUOTA_EXCEEDED, 400, "The quota of instances is used up: {reason}",
        "Delete an instance, or request fewer."),
    ErrorRow(NOT_ENOUGH_MEMORY, 400, "There is not enough memory left: {reason}",
        "Request less, delete an instance, or see docs/capacity.md."),
    ErrorRow(ZONE_NOT_FOUND, 400, "The available zone {zone} does not exist.",
        "Use a zone of ListAvailableZones: {zones}."),
    ErrorRow(LIMIT_EXCEEDED, 400, "A limit is reached: {reason}",
        "Request fewer nodes, or delete an instance, an account or a backup, as the message says."),
    ErrorRow(INSTANCE_NOT_RUNNING, 400, "The instance is not running. {reason}",
        "Look at its status; an instance in ERROR can be deleted."),
    ErrorRow(SAME_VERSION, 400, "All nodes run version {version} already.", "Request a newer version."),
    ErrorRow(DUPLICATE_NAME, 400, "An instance of this name exists.", "Choose another name."),
    ErrorRow(INVALID_INSTANCE_ID, 400, "The instance id is malformed.", "Send the UUID that the list shows."),
    ErrorRow(INVALID_PARAMETER, 400, "Parameter {parameter} is not valid: {reason}", "Correct the parameter."),
    ErrorRow(INVALID_INSTANCES, 400, "instances is not valid: {reason}",
        "Name at least one instance, or send all_failure=true."),
    ErrorRow(INVALID_CONFIGURATION, 400, "Parameter {parameter} of the configuration is not valid: {reason}",
        "Take names, ids and ranges from ListConfigurations. Where a task ends with it, its message names the node "
        "that refused; all nodes have their old values."),
    ErrorRow(INVALID_TASK_ID, 400, "The task id is malformed.", "Send the 32 hexadecimal digits that the list shows."),
    ErrorRow(NOT_PRIMARY_STANDBY, 400, "The operation is for instances of type ha.",
        "For a cluster use ExecuteClusterSwitchover, which names a shard and a node."),
    ErrorRow(WRONG_PASSWORD, 400, "The present password is wrong.",
        "Send the present password as old_password."),
    ErrorRow(INVALID_SAVE_DAYS, 400, "save_days is not valid: {reason}", "Send a number of days from 1 to 7."),
    ErrorRow(INVALID_BACKUP_TYPE, 400, "backup_type is not valid: {reason}", "Send auto or manual."),
    ErrorRow(INVALID_BACKUP_PERIOD, 400, "period_type is not valid: {reason}", "Send weekly."),
    ErrorRow(INVALID_BACKUP_DAYS, 400, "backup_at is not valid: {reason}",
        "Send days of the week from 1 (Monday) to 7 (Sunday)."),
    ErrorRow(INVALID_BACKUP_TIME, 400, "begin_at is not valid: {reason}", "Send a time such as 02:00-03:00."),
    ErrorRow(BACKUP_NOT_SUCCEEDED, 400, "The backup has not succeeded.", "Wait until its status is succeed."),
    ErrorRow(INVALID_BACKUP_POLICY, 400, "instance_backup_policy is not valid: {reason}",
        "See docs/backups.md, or leave it out."),
    ErrorRow(INSTANCE_BACKING_UP, 400, "The instance is being backed up.", "Follow its task BACKUPING, then retry."),
    ErrorRow(INVALID_REMARK, 400, "remark is not valid: {reason}", "Send a line of at most 128 characters."),
    ErrorRow(INSTANCE_RESTORING, 400, "The instance is being restored.", "Wait, then retry."),
    ErrorRow(INSTANCE_NOT_DELETABLE, 400, "The instance cannot be deleted now.",
        "It is being deleted already."),
    ErrorRow(TOO_MANY_INSTANCES, 400, "The request names more than 50 instances.", "Send several requests."),
    ErrorRow(UNSUPPORTED_RESIZE, 400, "This change of size is not supported: {reason}",
        "Keep type and processor; change capacity and number of replicas in separate requests."),
    ErrorRow(RESIZE_WITHOUT_CHANGE, 400, "This change of size is not supported: {reason}",
        "Request another number or size of shards, or another number of replicas."),
    ErrorRow(INSTANCE_RECOVERING, 400, "The instance recovers from a fault. {reason}",
        "Follow its task RebuildNode or MoveNodes, then retry."),
    ErrorRow(INVALID_MAINTENANCE_WINDOW, 400, "The maintenance window is not valid: {reason}",
        "Give maintain_begin and maintain_end as HH:00:00, or neither."),
    ErrorRow(INSTANCE_RESTARTING, 400, "The instance is being restarted.", "Wait, then retry."),
    ErrorRow(INSTANCE_RESIZING, 400, "The instance is being resized.", "Follow its task EXTEND, then retry."),
    ErrorRow(INSTANCE_CONFIGURING, 400, "The parameters of the instance are being changed.",
        "Follow its task UpdateInstanceConfig, then retry."),
    ErrorRow(INSTANCE_UPGRADING, 400, "The instance is being upgraded.",
        "Follow its task UpgradeInstanceMinorVersion, then retry."),
    ErrorRow(INSTANCE_CHANGING_PASSWORD, 400, "The password of the instance is being changed.",
        "Follow its task modify, then retry."),
    ErrorRow(INSTANCE_CREATING, 400, "The instance is being created.",
        "Follow its task CreateInstance, then retry."),
    ErrorRow(INVALID_ENABLE_SSL, 400, "enable_ssl is not valid: {reason}", "Leave it out."),
    ErrorRow(INVALID_FIRST_SCAN, 400, "first_scan_at is not valid or has passed.",
        "Send a time in the future, such as 2027-07-07T15:00:05.000Z."),
    ErrorRow(INVALID_SCAN_INTERVAL, 400, "interval is missing.", "Send the seconds from one scan to the next."),
    ErrorRow(INVALID_SCAN_TIMEOUT, 400, "timeout is not valid.", "Send seconds above 0 and below interval."),
    ErrorRow(INVALID_SCAN_COUNT, 400, "scan_keys_count is not valid.", "Send a number from 10 to 1000."),
    ErrorRow(CLIENT_ADDRESSES_UNSUPPORTED, 400, "Transparent transmission of client addresses is not supported.",
        "Leave it off. Nodes see the addresses of clients, except behind the proxy of an ha or single instance."),
    ErrorRow(NO_SUCCESSOR, 400, "No replica can take over: {reason}",
        "Give a replica a priority from 1 to 100 (UpdateSlavePriority)."),
    ErrorRow(ANALYSIS_UNSUPPORTED, 400, "This analysis is not possible: {reason}",
        "Set maxmemory-policy to allkeys-lfu or volatile-lfu, and let clients use the instance for a while."),
    ErrorRow(HOT_KEY_ANALYSIS_NOT_FOUND, 400, "The analysis for hot keys does not exist.",
        "Use an id of ListHotKeyScanTasks."),
    ErrorRow(BIG_KEY_ANALYSIS_NOT_FOUND, 400, "The analysis for big keys does not exist.",
        "Use an id of ListBigkeyScanTasks."),
    ErrorRow(INVALID_NO_PASSWORD_ACCESS, 400, "no_password_access is not valid: {reason}", "Send true or false."),
    ErrorRow(INVALID_ACCESS_USER, 400, "access_user is not valid: {reason}", "Leave it out; it is for Memcached."),
    ErrorRow(INVALID_PASSWORD, 400, "password is not valid: {reason}",
        "Send one, or no_password_access true; not both."),
    ErrorRow(SWITCHOVER_UNSUPPORTED, 400, "A switchover to a named node is not possible for this type of instance.",
        "Use ChangeMasterStandbyAsync for an instance of type ha; a single instance has no replica."),
    ErrorRow(UNEXPECTED_NEW_PASSWORD, 400, "new_password must be absent with no_password_access true.",
        "Send one of the two."),
    ErrorRow(PASSWORD_FREE, 400, "The instance has no password.", "Reset the password to set one."),
    ErrorRow(INVALID_SPEC_CODE, 400, "spec_code is not valid: {reason}", "Use a spec code of ListFlavors."),
    ErrorRow(INVALID_NODE_LIST, 400, "node_list is not valid: {reason}",
        "Name replicas that ValidateDeletableReplica lists."),
    ErrorRow(NOT_A_REPLICA, 400, "Node {node} is not a replica: it is the primary of its shard.",
        "Name a replica; ListGroupReplicationInfo shows the present roles."),
    ErrorRow(INVALID_AVAILABLE_ZONES, 400, "available_zones is not valid: {reason}",
        "Name a zone of ListAvailableZones."),
    ErrorRow(INVALID_PRIORITY, 400, "slave_priority_weight is not valid: {reason}",
        "Send a whole number from 0 (never takes over) to 100 (last); 1 is first."),
    ErrorRow(MIGRATION_NOT_FOUND, 400, "The migration task does not exist.", "List the migration tasks."),
    ErrorRow(TASK_STATE_CONFLICT, 400, "Not allowed in the task's present state: {reason}",
        "Follow the task until its state permits this, or start a new one."),
    ErrorRow(TASK_NOT_FOUND, 404, "The task does not exist.",
        "List the instance's tasks; its record may have been deleted."),
    ErrorRow(OPERATION_NOT_SERVED, 404, "Operation {operation} of the cloud is not served here.",
        "See docs/coverage.md for what is."),
    ErrorRow(TEMPLATE_NOT_FOUND, 400, "The template of parameters does not exist.",
        "Use a template of ListConfigTemplates."),
    ErrorRow(METHOD_NOT_ALLOWED, 405, "The method is not allowed here.", "Check method and path."),
    ErrorRow(BODY_TOO_LARGE, 413, "The body is too large.", "Send at most 12 MB, and for a token 16 KB."),
    ErrorRow(TOO_MANY_REQUESTS, 429, "Too many requests.",
        "Wait for as long as Retry-After says, and send fewer requests."),
    ErrorRow(UNSUPPORTED_MEDIA_TYPE, 415, "The body is not declared as JSON.", "Send Content-Type: application/json."),
    ErrorRow(HEADERS_TOO_LARGE, 431, "The headers are larger than 16 KB, or more than 64.", "Send fewer."),
    ErrorRow(URL_TOO_LONG, 414, "Path and query are longer than 8 KB.", "Send a shorter request."),
    ErrorRow(BODY_TIMEOUT, 408, "The body did not arrive within 60 seconds.", "Check the network, then retry."),
    ErrorRow(CROSS_SITE_REQUEST, 403, "The request is not the console's own.", "Load the console again and sign in."),
    ErrorRow(PROJECT_BUSY, 503, "Too many requests of this project are waiting.",
        "Wait for as long as Retry-After says, and send fewer requests."),
    ErrorRow(CLIENT_CLOSED_CONNECTION, 408, "The client closed the connection before the answer.",
        "Keep it open for longer."),
    ErrorRow(TOO_MANY_WEBHOOKS, 400, "The project has 10 webhooks.", "Delete one."),
    ErrorRow(ACCOUNT_NOT_FOUND, 404, "The account does not exist.", "List the accounts of the instance."),
    ErrorRow(WEBHOOK_NOT_FOUND, 404, "The webhook does not exist.", "List the webhooks."),
    ErrorRow(DATABASE_UNAVAILABLE, 503, "The database takes no changes now. Nothing was changed.",
        "Retry. On the server: check for a full disk, a process that locks `cachewright.db`, or PostgreSQL."),
    ErrorRow(TOO_MANY_STREAMS, 429, "Too many event streams are open.",
        "Close some, retry after Retry-After seconds, or poll the progress without a stream."),
    ErrorRow(BODY_MEMORY_EXHAUSTED, 503, "The memory for request bodies is used up.",
        "Retry after Retry-After seconds."),
    ErrorRow(INTERNAL_ERROR, 500, "Internal error {request_id}.", "Search the server's log for the id."),
    ErrorRow(SWITCHOVER_FAILED, 0, "The replica could not take over.",
        "The message names node and cause; the former primary still serves. Retry the task."),
    ErrorRow(UNEXPECTED_TASK_ERROR, 0, "Unexpected internal error in a sub-step.",
        "Search the server's log for the task id."),
    ErrorRow(NODE_START_FAILED, 0, "A node did not start.",
        "Its log's last lines are in detail: a taken port, a full disk, a damaged file."),
    ErrorRow(MIGRATION_OUT_OF_MEMORY, 0, "A migration's target ran out of memory.",
        "Request larger shards or more shards."),
    ErrorRow(MIGRATION_INTERRUPTED, 0, "A migration lost its source or its target.",
        "Retry the task, or request the same resize again; finished ranges stay."),
    ErrorRow(CLUSTER_NOT_HEALTHY_IN_TIME, 0, "The instance did not become healthy in time.",
        "Check which node does not respond, then retry."),
    ErrorRow(TASK_CANCELLED, 0, "The task was cancelled.",
        "Retry the task, or request the change again. Slots that have moved stay."),
    ErrorRow(SUB_STEP_TIMEOUT, 0, "A sub-step exceeded its time limit.",
        "Check which node does not respond, then retry."),
    ErrorRow(NOT_ENOUGH_DISK, 400, "There is not enough disk left: {reason}",
        "Free space on the host, then retry."),
    ErrorRow(SHARDS_TOO_FULL, 400, "The shards that stay would be too full: {reason}",
        "Delete data, keep more shards, or choose a larger size."),
    ErrorRow(FOREIGN_CLUSTER_MEMBER, 0, "The cluster has a member that does not belong to the instance.",
        "Cachewright removes it. See A cluster in docs/failure-modes.md: data may be lost and secrets exposed."),
    ErrorRow(CLUSTER_UNHEALTHY, 0, "The instance is not healthy.",
        "The log has the reason; docs/failure-modes.md describes each case under \"A cluster\"."),
    ErrorRow(CONTROL_PLANE_REJECTED, 0, "A node rejects the control plane.",
        "Its users were changed; see A cluster in docs/failure-modes.md."),
    ErrorRow(WRITES_POSSIBLY_LOST, 0, "Writes of the last seconds before a handover of slots may be lost.",
        "The detail names the node, the slots and the time. Compare them with what the application has written."),
    ErrorRow(SOURCE_UNUSABLE, 0, "The source of a migration cannot be used.",
        "The message has the reason, in the words of the source. See docs/migration.md."),
    ErrorRow(UNEQUAL_NODES, 0, "Nodes of the instance have different functions.",
        "The detail names them. Load or delete a library on every primary."),
    ErrorRow(BACKUP_STORAGE_FAILED, 503, "The storage of backups does not answer or refuses: {reason}",
        "Check the storage (cachewright doctor), then retry the task or the request."),
    ErrorRow(BACKUP_DAMAGED, 500, "The backup is damaged: {reason}",
        "Verify it with cachewright backups verify. Use another backup, or make a new one."),
)  # fmt: skip
ERRORS = {row.code: row for row in _ROWS}


class CachewrightError(Exception):
    """Base of every exception that the server's own code raises."""


class DatabaseUnavailable(CachewrightError):
    """The database cannot be read or written now: unreachable, locked, damaged, or its disk is full."""


class ApiError(CachewrightError):
    """A request cannot be served; answered with a row of the table.

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
        return self.row.message.format(**{**named, **self.fields}).strip()[:MESSAGE_LIMIT]


# Results that DBOS has stored name this function: it keeps its name.
def _refusal(code: str, fields: dict[str, Any]) -> ApiError:
    """A pickled refusal, read back."""
    return ApiError(code, **fields)


Refusal = ApiError
"""The name under which results of earlier releases are stored."""


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
