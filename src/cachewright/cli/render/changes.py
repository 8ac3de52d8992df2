"""Lines for a log: one for each change of a task. Pure."""

from cachewright.cli.render.waits import wait_text
from cachewright.client.progress import Progress, Step, SubStep

_PERCENT_STEP = 10


def changes(before: Progress | None, after: Progress) -> list[str]:
    """One line for each step and sub-step that has begun, ended or reached its next phase, and for each wait that has
    begun; without such a change, one line every ten percent. Steps and sub-steps are matched by name, because the plan
    may add some."""
    lines = []
    steps = {step.name: step for step in before.steps} if before else {}
    for step in after.steps:
        was = steps.get(step.name)
        if step.status != "WAITING" and (was is None or was.status != step.status):
            lines.append(_line(step.name, step))
        sub_steps = {sub_step.name: sub_step for sub_step in was.sub_steps} if was else {}
        lines += [
            _line(f"{step.name} {sub_step.name}", sub_step)
            for sub_step in step.sub_steps
            if sub_step.status != "WAITING" and _is_change(sub_steps.get(sub_step.name), sub_step)
        ]
    waited = {wait.cause for wait in before.waits} if before else set()
    lines += [wait_text(wait) for wait in after.waits if wait.cause not in waited]
    if before and not lines and after.percent // _PERCENT_STEP > before.percent // _PERCENT_STEP:
        active = [str(sub.migration) for sub in after.sub_steps() if sub.status == "EXECUTING" and sub.migration]
        lines.append("; ".join(active) or "in progress")
    return lines


def _is_change(before: SubStep | None, after: SubStep) -> bool:
    return before is None or before.status != after.status or _phase(before) != _phase(after)


def _phase(sub_step: SubStep) -> str:
    return sub_step.migration.phase if sub_step.migration else ""


def _line(name: str, item: Step | SubStep) -> str:
    migration = item.migration if isinstance(item, SubStep) else None
    parts = [name, item.status, item.error_code, f"({migration})" if migration else ""]
    return " ".join(part for part in parts if part)
