"""A server with stored resizes whose progress can be requested, and a task history of any length."""

import secrets
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

import msgspec
import sqlalchemy as sa

from cachewright.cli.demo.server import ServerProcess
from cachewright.config import Settings
from cachewright.model.identity import Token
from cachewright.model.instances import Instance
from cachewright.model.tasks import Step, Task
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK, RESOURCE_CHECK
from cachewright.services.tokens import digest
from cachewright.store import instances, keys, tables, tasks, tokens
from cachewright.store.opening import open_in_use
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies.topology import STATUS_CHECK

TASKS = 20
_RATE = "1000000000/second"
_CONNECTIONS = "2000"
_DAY_MS = 24 * 3600 * 1000
_FEW, _MANY = "redis.cluster.xu1.large.r1.s1.3", "redis.cluster.xu1.large.r1.s1.5"
_MOVES = (
    ("a" * 40, ((0, 2184), (2185, 2730))),
    ("b" * 40, ((5461, 7645), (7646, 8191))),
    ("c" * 40, ((10923, 12013), (12014, 13106))),
)


class ProgressServer:
    """The tasks have ended, because the server would resume unfinished ones.

    :ivar paths: path of the progress of each task.
    """

    def __init__(self) -> None:
        """Return when the server responds."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        root = Path(self._folder.name) / "data"
        self._server = ServerProcess(root, "--rate-limit", _RATE, "--connections-per-address", _CONNECTIONS)
        self._settings = Settings(data_dir=root)
        self._database = open_in_use(self._settings)
        self.access = self._server.access
        self.token = secrets.token_urlsafe(32)
        self._tasks = [self._added() for _ in range(TASKS)]
        self._sign_in()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._server.stop()
        self._folder.cleanup()

    @property
    def database_file(self) -> Path:
        return self._settings.database_file

    @property
    def port(self) -> int:
        return int(self.access.endpoint.rpartition(":")[2])

    @property
    def paths(self) -> list[str]:
        return [f"/v2/{t.project_id}/instances/{t.instance_id}/tasks/{t.id}/progress" for t in self._tasks]

    def change(self) -> None:
        """Change one of the tasks, as happens four times a second to a running task."""
        first, *others = self._tasks
        with self._database.write() as connection:
            self._tasks = [*others, tasks.save(connection, first)]

    def fill(self, count: int) -> None:
        """Add this number of ended tasks of another instance."""
        names = [
            column.name for column in tables.tasks.c if column.name not in {"sequence", "id", "instance_id", "steps"}
        ]
        columns = ", ".join(names)
        many = f"""
            WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)
            INSERT INTO tasks (id, instance_id, steps, {columns})
            SELECT printf('%032x', n), :instance_id, '[]', {columns} FROM number, (SELECT * FROM tasks LIMIT 1)
        """  # noqa: S608  # names of our own columns
        with self._database.write() as connection:
            connection.execute(sa.text(many), {"count": count, "instance_id": str(uuid.uuid4())})

    def _added(self) -> Task:
        now = int(time.time() * 1000)
        instance = Instance(
            id=str(uuid.uuid4()),
            project_id=self.access.project_id,
            name="bench",
            status="RUNNING",
            engine_version="7.0",
            spec_code=_MANY,
            seed_port=1,
            password=None,
            control_secret=secrets.token_hex(),
            attributes={},
            user_id="bench",
            user_name="bench",
            created_at=now,
            updated_at=now,
        )
        task_id = uuid.uuid4().hex
        task = Task(
            id=task_id,
            instance_id=instance.id,
            project_id=instance.project_id,
            kind="resize",
            name="EXTEND",
            status="SUCCESS",
            params={"spec_code": _MANY},
            details={"old_capacity": "3", "new_capacity": "5"},
            user_id="bench",
            user_name="bench",
            created_at=now,
            begin_time=now,
            end_time=now + 9_000,
            percent=100,
            steps=tuple(_finished(step, now) for step in _plan(task_id)),
        )
        with self._database.write() as connection:
            instances.add(connection, instance)
            tasks.add(connection, task)
        return task

    def _sign_in(self) -> None:
        with self._database.write() as connection:
            key = keys.get(connection, self.access.access_key)
            assert key
            now = int(time.time() * 1000)
            token = Token(
                digest=digest(self.token),
                user_id=key.user_id,
                project_id=self.access.project_id,
                issued_at=now,
                expires_at=now + _DAY_MS,
            )
            tokens.add(connection, token)


def _plan(task_id: str) -> tuple[Step, ...]:
    """Steps from 3 shards to 5, as `operations.resize` would plan them."""
    checks = [
        SubStepSpec(name=name, action="check", work=effort("check", seconds=0.05))
        for name in (RESOURCE_CHECK, STATUS_CHECK)
    ]
    starts = [
        SubStepSpec(
            name=f"Node start. Shard {shard}, primary", action="start node", work=effort(str(shard), seconds=0.15)
        )
        for shard in (3, 4)
    ]
    moves = [
        SubStepSpec(
            name=f"Slot migration. Slots {first}-{last}",
            action="move slots",
            work=effort(source, unit="bytes", total=9_136_400, seconds=1.2, fixed=0.4),
            arguments={"source": source, "target": "d" * 40, "first": first, "last": last, "keys": 99_870},
            detail=f"{{node_id:{source},slot_range:[{first} {last}],full_migration:finish,inc_migration:finish,"
            "keys:99870/99870,bytes:9136400}",
        )
        for source, ranges in _MOVES
        for first, last in ranges
    ]
    return build(
        task_id,
        {
            PRE_CHECK: checks,
            "Resource request.": starts,
            "Cluster join.": [
                SubStepSpec(name="Cluster join.", action="join cluster", work=effort("join", seconds=2.2))
            ],
            "Data migration.": moves,
            POST_CHECK: checks[1:],
        },
    )


def _finished(step: Step, now: int) -> Step:
    over = {"status": "FINISH", "begin_time": now, "end_time": now + 1250}
    sub_steps = tuple(msgspec.structs.replace(sub, done=sub.work.total, **over) for sub in step.sub_steps)
    return msgspec.structs.replace(step, sub_steps=sub_steps, **over)
