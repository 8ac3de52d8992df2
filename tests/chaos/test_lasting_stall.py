"""A migration that stands still for longer than its limit."""

from contextlib import suppress

import pytest

from sdk_calls import ended
from serving import Server, thaw, until
from stalls import require_all_there, stall


@pytest.mark.chaos  # for its length
def test_a_stall_that_does_not_end_is_given_up_and_tried_again(own_server: Server) -> None:
    client, instance_id, task_id, snapshot = stall(own_server)
    until(lambda: "reason:no progress for 60 s" in own_server.log(), "the stall is not given up", seconds=150)
    with suppress(ProcessLookupError):  # an attempt that is given up ends its snapshot
        thaw(snapshot)
    assert ended(client, instance_id, task_id, seconds=120).status == "SUCCESS"
    require_all_there(own_server, client, instance_id)
