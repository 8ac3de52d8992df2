"""Causes of failed migration jobs, and which of them smaller batches avoid. Pure.

Messages as observed in CLUSTER GETSLOTMIGRATIONS of Valkey 9.1.
"""

from collections.abc import Mapping, Sequence

_LOST = "connection lost to"
_TRANSFER_FAULTS = ("invalid crlf", "protocol error")


def is_cured_by_smaller_batches(messages: Sequence[str], *, buffer_overflowed: bool) -> bool:
    """Whether the job failed because of the amount of data and writes in one batch.

    :param messages: what source and target say about the job. If both only say that the connection was lost, one of
        them has closed it: the source for its output buffer, or the target for a stream that it could not read. Both
        come from writes during a snapshot, of which a smaller batch has fewer.
    :param buffer_overflowed: whether the source has closed a connection for its output buffer during the job.
    """
    said = [message.lower() for message in messages if message]
    if any(fault in message for message in said for fault in _TRANSFER_FAULTS):
        return True
    only_lost = len(said) > 1 and all(message.startswith(_LOST) for message in said)
    return only_lost or (buffer_overflowed and all(message.startswith(_LOST) for message in said))


def overflows(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether the node has closed a connection for its output buffer between two INFO stats. The counter restarts with
    the node and by CONFIG RESETSTAT."""
    name = "client_output_buffer_limit_disconnections"
    earlier, later = before.get(name, 0), now.get(name, 0)
    return later > earlier or (later < earlier and later > 0)
