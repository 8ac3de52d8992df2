"""Metrics, traces and logs of a real server that has created and scaled a real cluster."""

import json
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from caches import cache, load
from receiver import Receiver
from sdk_calls import created, ended, newest_task, progress, resize
from serving import COMMAND, Server, until

KEYS = 20_000
MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("telemetry") / "data", (*COMMAND, "--log-format", "json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        try:
            started.start()
            yield started
        finally:
            started.clean_up()


@pytest.fixture(scope="module")
def scaled(server: Server) -> tuple[str, str, str]:
    """The instance, the task that made it and the task that scaled it."""
    client = server.client()
    instance_id = created(client, 2, instance_backup_policy=in_some_days())
    assert server.call("PUT", f"instances/{instance_id}/write-log", {"keep_hours": 1})[0] == 200
    made = newest_task(client, instance_id).id
    load(cache(client, instance_id), KEYS)
    grown = resize(client, instance_id, 3)
    assert ended(client, instance_id, grown).status == "SUCCESS"
    return instance_id, made, grown


def in_some_days() -> dict[str, Any]:
    """A policy by which no backup begins during the tests."""
    day = (datetime.now(UTC).isoweekday() + 3) % 7 + 1
    plan = {"backup_at": [day], "begin_at": "02:00-03:00"}
    return {"backup_type": "auto", "save_days": 1, "periodical_backup_plan": plan}


def token(server: Server) -> str:
    return (server.data_dir / "metrics.token").read_text().strip()


def scrape(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = httpx.get(
        f"{server.credentials['endpoint']}/metrics",
        headers={"authorization": f"Bearer {token(server)}"},
        timeout=60,
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def one(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], metric: str, **labels: str) -> float:
    """The sum of the samples of that name with those labels."""
    return sum(value for (found, has), value in samples.items() if found == metric and has >= set(labels.items()))


def test_what_tasks_did_is_counted(server: Server, scaled: tuple[str, str, str]) -> None:
    until(lambda: one(scrape(server), "cachewright_tasks_unfinished") == 0, "a task is not over")
    samples = scrape(server)
    assert one(samples, "cachewright_tasks_ended_total", kind="create", outcome="success") == 1
    assert one(samples, "cachewright_tasks_ended_total", kind="resize", outcome="success") == 1
    assert one(samples, "cachewright_task_duration_seconds_count", kind="resize") == 1
    errors = "cachewright_task_prediction_error_ratio_count"
    passed = {mark: one(samples, errors, kind="resize", progress=mark) for mark in ("10", "25", "50", "75", "90")}
    assert 1 in passed.values(), "a fast task skips marks, not all of them"
    for mark, count in {**passed, "0": 1}.items():
        of_mark = {"kind": "resize", "progress": mark}
        assert one(samples, errors, **of_mark) == count
        assert one(samples, "cachewright_task_prediction_intervals_total", **of_mark) == count
        assert one(samples, "cachewright_task_prediction_bias_ratio_bucket", **of_mark, le="+Inf") == count
    moved = one(samples, "cachewright_migrated_bytes_total")
    assert KEYS * 200 / 3 * 0.8 < moved < KEYS * 1000, "a third of the keys, each of 200 bytes and its overhead"
    assert one(samples, "cachewright_tasks_unfinished") == 0


def test_nodes_and_loops_are_told_of(server: Server, scaled: tuple[str, str, str]) -> None:
    instance_id = scaled[0]

    def all_three() -> Any:
        samples = scrape(server)
        return one(samples, "cachewright_node_up", instance_id=instance_id) == 3 and samples

    samples = until(all_three, "three nodes are up")
    assert one(samples, "cachewright_node_keys", instance_id=instance_id, role="primary") == KEYS
    assert one(samples, "cachewright_node_max_memory_bytes", instance_id=instance_id) == 3 * 1024**3
    assert one(samples, "cachewright_instances", status="RUNNING") == 1
    loops = {dict(has)["loop"] for name, has in samples if name == "cachewright_heartbeat_timestamp_seconds"}
    work = {
        "supervisor",
        "cluster check",
        "hazards",
        "equality check",
        "incidents",
        "adoption",
        "statistics",
        "enforcement",
        "failover watch",
        "firewall watch",
        "gateways",
        "hosts",
        "housekeeping",
        "presence",
        "proxy watch",
        "backup retention",
        "scheduled backups",
        "write logs",
        "write log guard",
        "write log retention",
        "scheduled scans",
        "webhook delivery",
    }
    assert loops == work


def test_a_dead_node_shows(server: Server, scaled: tuple[str, str, str]) -> None:
    before = one(scrape(server), "cachewright_node_starts_total")
    server.nodes()[0].kill()
    until(lambda: one(scrape(server), "cachewright_node_starts_total") == before + 1, "a start is counted")


def test_requests_are_timed_by_operation(server: Server, scaled: tuple[str, str, str]) -> None:
    instance_id, _, task_id = scaled
    labels = {"operation": "show_background_task_progress", "method": "GET", "status": "200"}
    before = one(scrape(server), "cachewright_http_request_duration_seconds_count", **labels)
    progress(server.client(), instance_id, task_id)
    until(
        lambda: one(scrape(server), "cachewright_http_request_duration_seconds_count", **labels) == before + 1,
        "the request is not counted",
    )
    httpx.get(server.credentials["endpoint"] + "/nothing", timeout=60)
    refused = {"operation": "", "method": "GET", "status": "401"}
    until(
        lambda: one(scrape(server), "cachewright_http_request_duration_seconds_count", **refused) == 1,
        "the refusal is not counted",
    )


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic {}", "{}", "Bearer é"])
def test_metrics_are_told_to_nobody_else(server: Server, authorization: str) -> None:
    told = authorization.format(token(server)).encode()
    answer = httpx.get(server.credentials["endpoint"] + "/metrics", headers={b"authorization": told}, timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "DCS.1001")


def test_the_token_is_its_owners_alone(server: Server) -> None:
    assert stat.S_IMODE((server.data_dir / "metrics.token").stat().st_mode) == 0o600


def test_a_task_is_a_trace(server: Server, scaled: tuple[str, str, str], collector: Receiver) -> None:
    instance_id, made, grown = scaled
    until(lambda: "task resize" in {span.name for span in _spans(collector, grown)}, "the trace has not arrived")
    spans = {span.name: span for span in _spans(collector, grown)}
    root = spans["task resize"]
    steps = [span for span in spans.values() if span.parent_span_id == root.span_id]
    assert [span.name for span in steps] == [
        "Pre-check.",
        "Resource request.",
        "Cluster join.",
        "Data migration.",
        "Post-check.",
    ]
    moves = [span for span in spans.values() if span.parent_span_id == spans["Data migration."].span_id]
    assert moves
    assert all(span.name.startswith("Slot migration.") for span in moves)
    assert all(root.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in spans.values())
    assert all(span.end_time_unix_nano <= root.end_time_unix_nano for span in spans.values())
    attributes = {item.key: item.value.string_value for item in root.attributes}
    assert attributes["cachewright.instance.id"] == instance_id
    until(lambda: _spans(collector, made), "the trace of the creation has not arrived")


def _spans(collector: Receiver, task_id: str) -> list[Any]:
    """In the order of their begin."""
    found = []
    for _, body in list(collector.received):
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                found += [span for span in scope.spans if span.trace_id.hex() == task_id]
    return sorted(found, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))


def test_every_line_of_the_log_is_an_object_with_ids(server: Server, scaled: tuple[str, str, str]) -> None:
    instance_id = scaled[0]
    server.nodes()[0].kill()

    def told() -> Any:
        lines = [json.loads(line) for line in _lines(server)]
        return [line for line in lines if "has died" in line["message"]]

    line = until(told, "the log tells of the node")[0]
    assert line["level"] == "WARNING"
    assert line["logger"] == "cachewright.monitoring.supervisor"
    assert line["instance_id"] == instance_id
    assert line["timestamp"].endswith("+00:00")


def _lines(server: Server) -> list[str]:
    """Without the two that say where it serves, which go to standard output."""
    return [line for line in server.log().splitlines() if line.startswith("{")]


def test_without_the_sdk_of_opentelemetry_it_says_so(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not here')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        patch.setenv("PYTHONPATH", str(hidden.parent))
        code, said = Server(tmp_path / "data").refusal()
    assert code == 1
    assert "pip install 'cachewright[otel]'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_what_is_shown_and_alerted_on_is_there(server: Server, scaled: tuple[str, str, str], name: str) -> None:
    wanted = set(re.findall(r"\b(?:cachewright|process)_[a-z_]+", (MONITORING / name).read_text()))
    assert len(wanted) > 8
    until(lambda: wanted <= {metric for metric, _ in scrape(server)}, "a metric is missing")
