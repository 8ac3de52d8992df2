"""Counts of hazards of slot migration since the server started, for metrics."""


class HazardCounts:
    """:ivar ended_children: snapshot processes that survived their migration and were ended.
    :ivar stopped_targets: targets that were stopped because they did not complete a handover in time.
    :ivar write_loss_warnings: migration jobs whose source has logged that writes may be lost.
    """

    def __init__(self) -> None:
        self.ended_children = 0
        self.stopped_targets = 0
        self.write_loss_warnings = 0
