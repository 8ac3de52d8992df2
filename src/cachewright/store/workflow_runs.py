"""Records of workflows that have ended, which DBOS keeps until they are deleted."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
"""Statuses of DBOS."""

_KEPT = timedelta(hours=1)
_PER_BATCH = 500


def forget_ended(find: Callable[..., Any], delete: Callable[[list[str]], Any]) -> None:
    """Delete workflows that have ended some time ago, in small batches.

    :param find: `list_workflows` of DBOS, or of its client.
    :param delete: `delete_workflows` of the same.
    """
    before = (datetime.now(UTC) - _KEPT).isoformat()
    while True:
        found = find(status=ENDED, completed_before=before, limit=_PER_BATCH, load_input=False, load_output=False)
        delete([run.workflow_id for run in found])
        if len(found) < _PER_BATCH:
            break
