"""A trace of each task that has ended, for OpenTelemetry: a span for the task, for each step and for each sub-step.

A trace is made from the record when the task ends, so it is complete even if the server was killed in between. The id
of a trace is the id of its task.
"""

import hashlib
import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, Status, StatusCode

import cachewright
from cachewright.model.tasks import ENDED, Step, SubStep, Task

_NS = 1_000_000
_FAILED = "FAILED"


class _TaskIds(RandomIdGenerator):
    """Generates the trace id from the id of the task."""

    def __init__(self) -> None:
        self.trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


class Traces:
    def __init__(self) -> None:
        self._ids = _TaskIds()
        self._one = threading.Lock()
        about = {SERVICE_NAME: "cachewright", SERVICE_VERSION: cachewright.__version__}
        self._provider = TracerProvider(id_generator=self._ids, resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("cachewright.tasks", cachewright.__version__)

    def see(self, task: Task) -> None:
        """Trace a task that has ended. Called for each stored change of each task, from any thread."""
        if task.status not in ENDED or task.end_time is None:
            return
        with self._one:
            self._trace(task, task.end_time)

    def _trace(self, task: Task, end_time: int) -> None:
        self._ids.trace_id = trace_id(task)
        root = self._tracer.start_span(
            f"task {task.kind}",
            start_time=task.created_at * _NS,
            attributes={
                "cachewright.task.id": task.id,
                "cachewright.task.kind": task.kind,
                "cachewright.task.attempt": task.attempt,
                "cachewright.instance.id": task.instance_id,
                "cachewright.project.id": task.project_id,
                "user.id": task.user_id,
            },
        )
        for step in task.steps:
            self._step(root, step)
        _end(root, task.status, task.error_code, task.message, end_time)

    def stop(self) -> None:
        """Export remaining traces, then stop."""
        self._provider.shutdown()

    def _step(self, parent: Span, step: Step) -> None:
        if step.begin_time is None or step.end_time is None:
            return
        span = self._span(parent, step.name, step.begin_time, {"cachewright.step.id": step.id})
        for sub_step in step.sub_steps:
            self._sub_step(span, sub_step)
        _end(span, step.status, step.error_code, "", step.end_time)

    def _sub_step(self, parent: Span, sub_step: SubStep) -> None:
        if sub_step.begin_time is None or sub_step.end_time is None:
            return
        attributes: dict[str, str | float] = {
            "cachewright.sub_step.id": sub_step.id,
            "cachewright.sub_step.action": sub_step.action,
            "cachewright.sub_step.detail": sub_step.detail,
            f"cachewright.sub_step.{sub_step.work.unit}": sub_step.done,
        }
        span = self._span(parent, sub_step.name, sub_step.begin_time, attributes)
        _end(span, sub_step.status, sub_step.error_code, sub_step.detail, sub_step.end_time)

    def _span(self, parent: Span, name: str, begin: int, attributes: dict[str, str | float]) -> Span:
        within = trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context=within, start_time=begin * _NS, attributes=attributes)


def trace_id(task: Task) -> int:
    """Id of the task for its first attempt; another id for each retry."""
    return int(task.id if not task.attempt else hashlib.sha256(task.run_id.encode()).hexdigest()[:32], 16)


def _end(span: Span, status: str, error_code: str | None, message: str, at: int) -> None:
    if status == _FAILED:
        span.set_attribute("error.type", error_code or "")
        span.set_status(Status(StatusCode.ERROR, message))
    else:
        span.set_status(Status(StatusCode.OK))
    span.end(at * _NS)
