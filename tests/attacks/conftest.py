"""What tests of this folder share: servers with options of their own, and an instance of the shared server."""

from collections.abc import Callable, Iterator

import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest, ResourceTag

from sdk_calls import create, ended, newest_task
from serving import COMMAND, Server


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with options of their own."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        server = Server(tmp_path_factory.mktemp("identity") / "data", (*COMMAND, *options))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.clean_up()


@pytest.fixture
def instance_id(server: Server) -> Iterator[str]:
    client = server.client()
    made = create(client, tags=[ResourceTag(key="team", value="a")])
    yield made
    ended(client, made, newest_task(client, made).id)
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made))
