"""Requests to a server during faults: tasks of every kind on a cluster, by the seed."""

import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fault_injection import LONGEST_FREEZE, FaultInjector
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    DeleteSingleInstanceRequest,
    RestartOrFlushInstancesRequest,
    RestoreInstanceBody,
    RestoreInstanceRequest,
    StartInstanceResizeCheckJobRequest,
    StartInstanceResizeCheckJobRequestBody,
)

from backup_files import epoch, manifest_of, moment_text, requested
from caches import cache, serves
from cachewright.valkey.slots import SLOTS
from migrating import content, fill, migrate, reaches
from outside_server import outside_server
from sdk_calls import PASSWORD, accepted, create, created, ended, gone, newest_task, progress, resize, show, spec
from serving import until

GET_OVER_SECONDS = 240
_ACCOUNT = "reports"
_MOST_SHARDS = 5
_KEYS_OUTSIDE = 5000


class Workload:
    """Tasks of an instance that is a cluster without replicas.

    :cvar clustered: whether it is a cluster.
    :cvar options: of the server, besides the usual ones.
    :cvar longest_freeze: of its nodes, in seconds.
    :ivar backups: those that have succeeded.
    """

    clustered = True
    options: tuple[str, ...] = ()
    longest_freeze = LONGEST_FREEZE
    copies = 1

    def __init__(self, chaos: FaultInjector, instance_id: str) -> None:
        self._chaos = chaos
        self._instance_id = instance_id
        self._loaded_at = 0
        self.backups: list[str] = []

    @classmethod
    def create(cls, client: Any) -> str:
        """Create an instance for it, and return its id."""
        return created(client, 2, copies=cls.copies)

    def connect(self) -> Any:
        """A client of the instance."""
        return cache(self._client, self._instance_id)

    def begin(self) -> None:
        """Begin when the keys are loaded, with a write log if the server takes one."""
        self._loaded_at = int(time.time()) + 1
        self._back_up_past_data()

    def one(self) -> None:
        deed = self._chaos.random.choice(self.deeds())
        self.settle()
        deed()

    def settle(self) -> None:
        """Wait until the instance is usable, whatever the last task came to."""
        settled(self._client, self._instance_id)

    def require_whole(self) -> None:
        """Every slot has one owner, and no migration is left."""
        nodes = [node for node in self.connect().cluster_nodes().values() if node["slots"]]
        assert sum(int(part[-1]) - int(part[0]) + 1 for node in nodes for part in node["slots"]) == SLOTS
        assert not any(node["migrations"] for node in nodes)

    def deeds(self) -> list[Callable[[], None]]:
        return [
            self._scale,
            self._scale,
            self._scale_and_cancel,
            self._scale_with_a_pause,
            self._restart,
            self._check,
            self._create_and_delete,
            self._back_up,
            self._back_up_past_data,
            self._restore,
            self._migrate,
            self._change_users,
        ]

    @property
    def _client(self) -> Any:
        return self._chaos.server.client()

    def _scale(self) -> None:
        task_id = self._begin_scale()
        self._under_strikes(task_id)
        if self._end(self._instance_id, task_id) == "FAILED" and self._chaos.random.random() < 0.5:
            self.settle()
            self._chaos.note("try it again")
            status, answer = self._control(task_id, "retry", "POST", None)
            assert status == 200, answer
            self._end(self._instance_id, task_id)

    def _scale_and_cancel(self) -> None:
        task_id = self._begin_scale()
        self._chaos.pause(4)
        self._chaos.note("cancel it")
        self._control(task_id, "cancel", "POST", None)
        self._under_strikes(task_id)
        self._end(self._instance_id, task_id)

    def _scale_with_a_pause(self) -> None:
        task_id = self._begin_scale()
        self._chaos.pause(3)
        self._chaos.note("pause it")
        self._control(task_id, "control", "PUT", {"state": "paused"})
        self._under_strikes(task_id)
        self._control(task_id, "control", "PUT", {"state": "running", "parallel": 1})
        self._end(self._instance_id, task_id)

    def _restart(self) -> None:
        body = ChangeInstanceStatusBody(instances=[self._instance_id], action="restart")
        accepted(lambda: self._client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body)))
        self._run("restart")

    def _check(self) -> None:
        copies = show(self._client, self._instance_id).replica_count
        body = StartInstanceResizeCheckJobRequestBody(spec_code=spec(_MOST_SHARDS + 1, copies=copies))
        asked = StartInstanceResizeCheckJobRequest(instance_id=self._instance_id, body=body)
        task_id = accepted(lambda: self._client.start_instance_resize_check_job(asked)).job_id
        self._chaos.note(f"check {task_id}")
        self._under_strikes(task_id)
        self._end(self._instance_id, task_id)

    def _create_and_delete(self) -> None:
        second = create(self._client, self._chaos.random.randrange(1, 3), name="second")
        task_id = newest_task(self._client, second).id
        self._chaos.note(f"create {second}: {task_id}")
        self._under_strikes(task_id, second)
        self._end(second, task_id)
        delete(self._chaos, second)

    def _change_users(self) -> None:
        """Create an account, or delete the one that exists."""
        accounts = f"instances/{self._instance_id}/accounts"
        listed = self._request("GET", accounts)["accounts"]
        account = next((found for found in listed if found["account_name"] == _ACCOUNT), None)
        if account is None:
            body = {"account_name": _ACCOUNT, "account_role": "read", "account_password": PASSWORD}
            done = self._request("POST", accounts, body)
        else:
            done = self._request("DELETE", f"{accounts}/{account['account_id']}")
        if done:
            self._run("change users")

    def _back_up(self) -> None:
        backup_id = accepted(lambda: requested(self._client, self._instance_id))
        if self._run(f"back up {backup_id}") == "SUCCESS":
            self.backups.append(backup_id)

    def _back_up_past_data(self) -> None:
        """Back up a second after the keys were loaded. There is none to choose during some tasks, and some seconds
        after them."""
        path = f"instances/{self._instance_id}"
        log = self._request("GET", f"{path}/write-log")
        if not log or not log["keep_hours"]:
            self._request("PUT", f"{path}/write-log", {"keep_hours": 1})
            return
        windows = [(max(epoch(one["first"]), self._loaded_at), epoch(one["last"])) for one in log["windows"]]
        if not (offered := [(first, last) for first, last in windows if first <= last]):
            self._chaos.note("no past second is offered")
            return
        second = self._chaos.random.randint(*self._chaos.random.choice(offered))
        if answer := self._request("POST", f"{path}/backups", {"moment": moment_text(second)}):
            backup_id = answer["backup_id"]
            if self._run(f"back up {moment_text(second)} as {backup_id}") == "SUCCESS":
                assert manifest_of(self._chaos.server, backup_id).taken_at // 1000 == second
                self.backups.append(backup_id)

    def _restore(self) -> None:
        """Into another instance: clients write to the first one, and no write of theirs may be lost. The other one has
        all keys of the backup, or those that it had."""
        if not self.backups:
            self._back_up()
            return
        backup_id = self._chaos.random.choice(self.backups)
        second = create(self._client, self._chaos.random.randrange(1, 3), name="second")
        self._end(second, newest_task(self._client, second).id)
        if show(self._client, second).status == "RUNNING":
            settled(self._client, second)
            cache(self._client, second).set("own", "data")
            body = RestoreInstanceBody(backup_id=backup_id)
            accepted(lambda: self._client.restore_instance(RestoreInstanceRequest(instance_id=second, body=body)))
            task_id = newest_task(self._client, second).id
            self._chaos.note(f"restore {backup_id} into {second}: {task_id}")
            self._under_strikes(task_id, second)
            self._end(second, task_id)
            settled(self._client, second)
            caches = cache(self._client, second)
            found = sum(caches.dbsize(target_nodes=node) for node in caches.get_primaries())
            expected = 1 if caches.get("own") else sum(manifest_of(self._chaos.server, backup_id).keys.values())
            assert found == expected, f"{second} has {found} keys"
        delete(self._chaos, second)

    def _migrate(self) -> None:
        """Migrate the data of a server outside, which changes, into a new instance. Whatever is killed, it succeeds."""
        second = create(self._client, self._chaos.random.randrange(1, 3), name="second")
        self._end(second, newest_task(self._client, second).id)
        with TemporaryDirectory() as folder, outside_server(Path(folder)) as source:
            fill(source.client(), _KEYS_OUTSIDE)
            migration_id = migrate(self._client, second, source.address, follow=True)
            task_id = newest_task(self._client, second).id
            self._chaos.note(f"migrate {migration_id}: {task_id}")
            self._under_strikes(task_id, second)
            reaches(self._client, migration_id, "INCRMIGEATING")
            source.client().delete("key:1")
            source.client().set("last", "write")
            source.client().client_kill_filter(_type="slave")
            self._chaos.note("cut over")
            self._chaos.server.call("POST", f"migration-task/{migration_id}/cut-over", {})
            self._under_strikes(task_id, second)
            reaches(self._client, migration_id, "SUCCESS")
            self._chaos.note("SUCCESS")
            settled(self._client, second)
            assert content(cache(self._client, second)) == content(source.client()), "the content is not the source's"
        delete(self._chaos, second)

    def _begin_scale(self) -> str:
        shown = show(self._client, self._instance_id)
        now, copies = shown.sharding_count, shown.replica_count
        wanted = self._chaos.random.choice([shards for shards in range(1, _MOST_SHARDS + 1) if shards != now])
        task_id = accepted(lambda: resize(self._client, self._instance_id, wanted, copies=copies))
        self._chaos.note(f"scale from {now} to {wanted}: {task_id}")
        return task_id

    def _run(self, what: str, instance_id: str | None = None) -> str:
        """Strike during the newest task of the instance, or of another one. Return how it ends."""
        instance_id = instance_id or self._instance_id
        task_id = newest_task(self._client, instance_id).id
        self._chaos.note(f"{what}: {task_id}")
        self._under_strikes(task_id, instance_id)
        return self._end(instance_id, task_id)

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer; None if the request is refused, as it may be while a node that was struck is away."""
        status, answer = self._chaos.server.call(method, path, body)
        assert status < HTTPStatus.INTERNAL_SERVER_ERROR, (path, answer)
        if status < HTTPStatus.BAD_REQUEST:
            return answer or {"status": status}
        self._chaos.note(f"{method} {path}: {answer}")
        return None

    def _under_strikes(self, task_id: str, instance_id: str | None = None) -> None:
        seen = 0
        for _ in range(self._chaos.random.randrange(1, 4)):
            self._chaos.pause(2)
            self._chaos.strike()
            shown = progress(self._client, instance_id or self._instance_id, task_id).progress
            assert shown >= seen, f"the percent went down from {seen} to {shown}"
            seen = shown

    def _end(self, instance_id: str, task_id: str) -> str:
        row = ended(self._client, instance_id, task_id, GET_OVER_SECONDS)
        self._chaos.note(f"{row.status} {progress_code(self._client, instance_id, task_id)}")
        return str(row.status)

    def _control(self, task_id: str, word: str, method: str, body: Any) -> tuple[int, Any]:
        path = f"instances/{self._instance_id}/tasks/{task_id}/{word}"
        status, answer = self._chaos.server.call(method, path, body)
        assert status == 200 or answer["error_code"] == "DCS.4957", answer
        return status, answer


def progress_code(client: Any, instance_id: str, task_id: str) -> str:
    codes = [step.error_code for step in progress(client, instance_id, task_id).step_details if step.error_code]
    return " ".join(codes)


def settled(client: Any, instance_id: str) -> None:
    """Wait until a cluster is usable again, whatever the last task came to."""
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not usable", GET_OVER_SECONDS)
    until(lambda: serves(client, instance_id), "the cluster is not whole", GET_OVER_SECONDS)


def delete(chaos: FaultInjector, instance_id: str) -> None:
    client = chaos.server.client()
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    chaos.note(f"delete {instance_id}")
    until(lambda: gone(chaos.server.client(), instance_id), "the instance is not gone", GET_OVER_SECONDS)
