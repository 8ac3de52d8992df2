"""What the server and a job of a migration tell each other, about once a second."""

import msgspec

from cachewright.model.online_migrations import LogLevel, ResumeMode
from cachewright.valkey.sources.target import TargetMap

VALID_SECONDS = 5.0
"""Time for which a job copies keys without new orders. Afterwards it only notes which keys change: another host may
have taken over, or clients may use the instance."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says.

    :ivar is_paused: whether the task is paused.
    :ivar resume_mode: see `OnlineMigration`.
    :ivar is_cut_over: whether its owner has requested the cut-over.
    :ivar noted: number of the last event that is in the log of the migration.
    :ivar answered: number of the last request of the job that is answered.
    :ivar target: the answer to a request for the owners of slots; None if they are not known now, :ivar refusal: why.
    """

    is_paused: bool = False
    resume_mode: ResumeMode = "auto"
    is_cut_over: bool = False
    noted: int = 0
    answered: int = 0
    target: TargetMap | None = None
    refusal: str = ""

    @property
    def known_stage(self) -> str:
        """Name of the stage of a job whose requests are all answered."""
        return stage_of(self.answered)


class Event(msgspec.Struct, frozen=True):
    """An entry for the log of the migration. The numbers of a job begin with 1."""

    number: int
    level: LogLevel
    message: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the job says.

    :ivar done: counter, and :ivar detail: of the sub-step; see `StepContext.measure`.
    :ivar shown: what is a part of the work.
    :ivar waits: what it waits for, :ivar cause: the same as it is recorded. Empty while it works.
    :ivar is_held: whether it waits because the task is paused, or for orders.
    :ivar events: those that are not in the log yet, as far as the job knows.
    :ivar request: number of its last request. It waits for the answer.
    :ivar libraries: names of function libraries that the request wants to be stored; None for a request for the owners
        of slots.
    """

    done: float | None = None
    detail: str | None = None
    shown: str = ""
    waits: str = ""
    cause: str = ""
    is_held: bool = False
    events: tuple[Event, ...] = ()
    request: int = 0
    libraries: tuple[str, ...] | None = None


def stage_of(request: int) -> str:
    """Return the name of the stage of a job with this request, so that the server notices it immediately."""
    return str(request) if request else ""
