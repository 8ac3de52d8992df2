"""Failures of the demo, and their messages."""

import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from cachewright.cli.demo import DemoOptions, run
from cachewright.cli.demo.content import DataSet
from cachewright.cli.demo.demonstration import Impossible, shard_gb
from cachewright.cli.demo.latency import Latency, of_phase
from cachewright.cli.demo.load import Loaded, Verified
from cachewright.cli.demo.prediction import AtMark, Prediction
from cachewright.cli.demo.report import Change, Report, Traffic, tables, verdict
from cachewright.client.progress import Moved

LATENCY = Latency(
    operations=3000,
    p50_ms=0.3,
    p99_ms=1.2,
    longest_ms=80.0,
    longest_read_ms=70.0,
    longest_write_ms=80.0,
    over_10_ms=0.004,
    control_p99_ms=1.1,
    control_longest_ms=9.0,
    client_late_p99_ms=0.9,
)
NOTHING = of_phase([], 0, 1)
CHANGE = Change(
    from_shards=3,
    to_shards=5,
    status="SUCCESS",
    seconds=8.0,
    moved=Moved(ranges=6, keys=120_000, bytes=30_000_000, seconds=2.0),
    keys_per_second=60_000,
    prediction=Prediction(
        samples=9,
        median_seconds=0.5,
        worst_seconds=1.5,
        median_share=0.06,
        worst_share=0.18,
        planned_seconds=7.4,
        planned_share=-0.075,
        marks=(AtMark(percent=10, error=0.31, extrapolated=-0.42), AtMark(percent=50, error=-0.04, extrapolated=0.11)),
    ),
    descents=(),
)
TRAFFIC = Traffic(
    operations=9000,
    errors=0,
    wrong_answers=0,
    examples=(),
    acknowledged=4500,
    lost=0,
    quiet=LATENCY,
    scale_out=LATENCY,
    scale_in=LATENCY,
    longest_stall_ms=80.0,
)
REPORT = Report(
    keys=300_000,
    shard_gb=1,
    creation=msgspec.structs.replace(CHANGE, from_shards=0, to_shards=3, prediction=None),
    loaded=Loaded(keys=300_000, seconds=6.0),
    scale_out=CHANGE,
    scale_in=CHANGE,
    traffic=TRAFFIC,
    data=Verified(checked=300_000, missing=0, changed=0),
    processes_left=0,
    server_stopped=True,
)


def test_a_good_run_is_ok_and_reads_as_a_table_and_as_json() -> None:
    found = verdict(REPORT)
    assert found.ok
    assert not found.failures
    said = json.loads(msgspec.json.encode(found))
    assert said["report"]["scale_out"]["moved"]["keys"] == 120_000
    assert said["report"]["traffic"]["quiet"]["p99_ms"] == 1.2
    file = io.StringIO()
    console = Console(file=file, width=100)
    for table in tables(REPORT):
        console.print(table)
    assert "7.4 s (-8%) │ +31% │ - │ -4% │" in re.sub(" +", " ", file.getvalue())
    assert "elapsed / percent │ │ -42% │ - │ +11% │" in re.sub(" +", " ", file.getvalue())
    for words in (
        "3 to 5 shards",
        "120,000",
        "0.5 s │",
        "1.5 s │",
        "Goals: 10% at 10 %",
        "70.00 ms",
        "0.4%",
        "acknowledged writes: lost",
    ):
        assert words in file.getvalue()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"scale_out": msgspec.structs.replace(CHANGE, status="FAILED")}, "the scale-out task ended FAILED"),
        ({"scale_in": msgspec.structs.replace(CHANGE, descents=((40, 39),))}, "scale-in went down: 40 to 39"),
        (
            {"scale_in": msgspec.structs.replace(CHANGE, moved=Moved(ranges=0, keys=0, bytes=0, seconds=0))},
            "no moved keys",
        ),
        ({"traffic": msgspec.structs.replace(TRAFFIC, errors=2, examples=("Boom: x",))}, r"error \(Boom: x\)"),
        ({"traffic": msgspec.structs.replace(TRAFFIC, lost=1)}, "1 of 4500 acknowledged writes were lost"),
        ({"traffic": msgspec.structs.replace(TRAFFIC, wrong_answers=1)}, "contradicted"),
        ({"traffic": msgspec.structs.replace(TRAFFIC, quiet=NOTHING)}, "phase"),
        ({"data": Verified(checked=9, missing=1, changed=0, examples=("data:7",))}, "1 are missing .*data:7"),
        ({"data": Verified(checked=9, missing=0, changed=1, examples=("data:7",))}, "1 changed"),
        ({"processes_left": 3}, "3 node processes"),
        ({"server_stopped": False}, "did not stop"),
    ],
)
def test_each_thing_that_went_wrong_is_a_failure(changed: dict[str, object], reason: str) -> None:
    found = verdict(msgspec.structs.replace(REPORT, **changed))
    assert not found.ok
    [failure] = found.failures

    assert re.search(reason, failure)


def test_the_shard_size_follows_the_data() -> None:
    sizes = [shard_gb(DataSet(keys=keys, expires_at=0), 3) for keys in (1, 300_000, 4_000_000, 8_000_000, 20_000_000)]
    assert sizes == [1, 1, 2, 4, 8]
    with pytest.raises(Impossible, match="do not fit"):
        shard_gb(DataSet(keys=100_000_000, expires_at=0), 3)


def test_wrong_options_are_told_in_one_line(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(DemoOptions(data_dir=tmp_path / "data", start=5, to=3, json=True)) == 1
    said = capsysbinary.readouterr()
    assert json.loads(said.out)["failures"] == ["--to must be more than --from, and --from at least 1"]
    assert said.err.startswith(b"FAILED: --to must be more")
    assert not (tmp_path / "data").exists()


def test_a_used_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(DemoOptions(data_dir=tmp_path)) == 1
    assert "is not empty" in capsys.readouterr().out
