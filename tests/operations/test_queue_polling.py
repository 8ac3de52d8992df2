"""A server whose queues are polled by the workflow library itself."""

from pathlib import Path

from sdk_calls import created, ended, resize
from serving import ROOMY, Server


def test_tasks_run_and_are_taken_up_again_after_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", arguments=(*ROOMY, "--queue-polling"))
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 1)
        task_id = resize(client, instance_id, 2)
        server.kill()
        server.start()
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        assert "queue instances is polled by DBOS" in server.log()
        assert "queue webhooks is polled by DBOS" in server.log()
    finally:
        server.clean_up()
