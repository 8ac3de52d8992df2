"""The snapshot of a node that the agent of its host receives, into a folder of the node."""

from collections.abc import Callable

from cachewright.hosts.jobs import JobState
from cachewright.jobs.results import Begun, Counted, Opened, Received
from cachewright.jobs.spec import ReceiveSnapshot
from cachewright.model.instances import Node
from cachewright.operations.agent_jobs import AgentJob, require_success, told
from cachewright.operations.context import OperationContext
from cachewright.valkey.client import NodeRefused
from cachewright.valkey.rdb_stream import Position

_OPEN_SECONDS = 10.0


class AgentReceiver:
    """Implements `Receiver`."""

    def __init__(self, context: OperationContext, node: Node, secret: str, folder: str) -> None:
        """:param secret: of the control plane's user. :param folder: name of the folder of the backup."""
        self._job = AgentJob(context, node, f"{folder} {node.id}")
        self._node = node
        self._secret = secret
        self._folder = folder
        self._counted = Counted()

    async def open(self, *, by_slot: bool) -> Opened:
        # That of an interrupted attempt must not be used: the snapshots of all shards belong together.
        await self._job.ensure_ended()
        await self._job.begin(
            ReceiveSnapshot(folder=self._folder, node=self._node, secret=self._secret, by_slot=by_slot)
        )
        state = await self._job.state("", _OPEN_SECONDS)
        self._require(state, ReceiveSnapshot.OPEN)
        return told(state, Opened)

    async def begin_after(self, offset: int) -> Position:
        state = await self._job.release(offset)
        self._require(state, ReceiveSnapshot.BEGUN)
        begun = told(state, Begun)
        return Position(begun.replication_id, begun.offset)

    async def receive(self, raise_if_cancelled: Callable[[], None]) -> Received:
        while True:
            raise_if_cancelled()
            state = await self._job.state(ReceiveSnapshot.BEGUN)
            self._counted = told(state, Counted)
            if state.has_ended:
                self._require(state, ReceiveSnapshot.BEGUN)
                return told(state, Received)

    @property
    def counted(self) -> Counted:
        return self._counted

    async def update(self) -> None:
        """No effect: `receive` asks the agent for the progress."""

    async def close(self) -> None:
        """End the job. The agent deletes a snapshot that is not complete."""
        await self._job.end()

    def _require(self, state: JobState, stage: str) -> None:
        """Raises NodeRefused or ActionFailed if the job has failed; NodeRefused also if the node takes too long."""
        if state.failure == "node":
            raise NodeRefused(state.text)
        require_success(self._node, state)
        if state.stage != stage and not state.has_ended:
            raise NodeRefused(f"node {self._node.id} takes too long to begin a snapshot")
