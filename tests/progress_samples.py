"""Progress of a resize at one moment, built from the model classes of the cloud's client."""

from huaweicloudsdkdcs.v2 import ShowBackgroundTaskProgressResponse, StepDetail, SubStepDetail

from cachewright.cli.demo.cloud import progress_of
from cachewright.client.progress import Progress

NODE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"


def detail(slots: str, full: str, increment: str, keys: str, size: int) -> str:
    return (
        f"{{node_id:{NODE},slot_range:[{slots}],full_migration:{full},inc_migration:{increment},"
        f"keys:{keys},bytes:{size}}}"
    )


def moment(second: int) -> str:
    return f"2026-03-01T10:00:{second:02d}.000Z"


def halfway(percent: int = 47, remaining: int | None = 6) -> Progress:
    """One finished range, one in its snapshot phase, one waiting."""
    return progress_of(
        ShowBackgroundTaskProgressResponse(
            progress=percent,
            remain_time=remaining,
            step_details=[
                StepDetail(
                    step_id="1",
                    step_name="Pre-check.",
                    step_status="FINISH",
                    begin_time=moment(0),
                    end_time=moment(1),
                    sub_step_details=[
                        SubStepDetail(
                            sub_step_id="2",
                            sub_step_name="Resource check.",
                            sub_step_status="FINISH",
                            begin_time=moment(0),
                            end_time=moment(1),
                            detail="",
                        )
                    ],
                ),
                StepDetail(
                    step_id="3",
                    step_name="Data migration.",
                    step_status="EXECUTING",
                    begin_time=moment(1),
                    sub_step_details=[
                        SubStepDetail(
                            sub_step_id="4",
                            sub_step_name="Slot migration. Slots 0-1092",
                            sub_step_status="FINISH",
                            begin_time=moment(1),
                            end_time=moment(3),
                            detail=detail("0 1092", "finished", "finished", "20000/20000", 5_000_000),
                        ),
                        SubStepDetail(
                            sub_step_id="5",
                            sub_step_name="Slot migration. Slots 5461-6552",
                            sub_step_status="EXECUTING",
                            begin_time=moment(2),
                            detail=detail("5461 6552", "in progress", "to start", "5000/20000", 1_250_000),
                        ),
                        SubStepDetail(
                            sub_step_id="6",
                            sub_step_name="Slot migration. Slots 10923-12014",
                            sub_step_status="WAITING",
                            detail=detail("10923 12014", "to start", "to start", "0/20000", 0),
                        ),
                    ],
                ),
            ],
        )
    )
