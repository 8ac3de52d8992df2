"""Puts the parts together: a database, a host, an engine with every operation, and the control plane before them."""

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.operations.check import Check
from cachewright.operations.create import Create
from cachewright.operations.delete import Delete
from cachewright.operations.operation import InstanceOperation
from cachewright.operations.plane import ControlPlane
from cachewright.operations.resize import Resize
from cachewright.operations.site import Site
from cachewright.operations.supervision import Supervisor
from cachewright.store.database import Database
from cachewright.tasks.engine import Engine


class Service:
    """:ivar plane: what requests are made to."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.database_url)
        site = Site(self._database, settings, LocalHost(settings.valkey_binary, settings.nodes_dir))
        operations: list[InstanceOperation] = [Create(site), Resize(site), Check(site), Delete(site)]
        self._engine = Engine(self._database, {operation.kind.kind: operation for operation in operations})
        self.supervisor = Supervisor(site)
        self.plane = ControlPlane(
            database=self._database,
            settings=settings,
            enqueue=self._engine.enqueue,
            memory=self.supervisor.used_memory,
            preview=Resize(site).preview,
        )

    def start(self) -> None:
        """Brings the database up to date and takes up every task that has not ended."""
        self._database.migrate()
        self._engine.start()

    def stop(self) -> None:
        """Nodes go on; tasks wait for the next start."""
        self._engine.stop()
        self._database.close()
