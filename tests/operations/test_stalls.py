"""The progress of a migration that stands still."""

from sdk_calls import ended, progress
from serving import Server, thaw, until
from stalls import require_all_there, stall


def test_a_stall_freezes_the_percent_raises_the_seconds_and_is_logged(own_server: Server) -> None:
    client, instance_id, task_id, snapshot = stall(own_server)
    seen = []

    def is_logged() -> bool:
        is_over = "no progress for 10 s" in own_server.log()
        seen.append(progress(client, instance_id, task_id))
        return is_over

    until(is_logged, "the stall is not logged")
    standing = [each for each in seen if each.progress == seen[-1].progress]
    assert len(standing) > 2
    assert seen[-1].remain_time > standing[0].remain_time
    thaw(snapshot)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_all_there(own_server, client, instance_id)
