"""The progress of a migration that stands still."""

from sdk_calls import ended
from serving import Server, thaw, until
from stalls import require_all_there, stall


def test_a_stall_freezes_the_percent_raises_the_seconds_and_is_logged(own_server: Server) -> None:
    client, instance_id, task_id, snapshot = stall(own_server)
    seen = []

    def is_logged() -> bool:
        is_over = "no progress for 10 s" in own_server.log()
        status, record = own_server.call("GET", f"tasks/{task_id}")
        assert status == 200
        seen.append((record["progress"]["progress"], record["remain_seconds"]))
        return is_over

    until(is_logged, "the stall is not logged")
    last_percent, last_seconds = seen[-1]
    standing = [seconds for percent, seconds in seen if percent == last_percent]
    assert len(standing) > 2
    assert last_seconds > standing[0]
    thaw(snapshot)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_all_there(own_server, client, instance_id)
