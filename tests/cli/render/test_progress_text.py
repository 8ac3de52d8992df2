"""Reading what the cloud's client hands over, and drawing it."""

import io
from datetime import UTC, datetime

import msgspec
import pytest
from huaweicloudsdkdcs.v2 import ShowBackgroundTaskProgressResponse, StepDetail
from rich.console import Console

from cachewright.cli.demo.cloud import progress_of
from cachewright.cli.demo.progress_view import ProgressView
from cachewright.cli.render.changes import changes
from cachewright.cli.render.tree import Pen, tree
from cachewright.client.progress import Migration, moved, parse_detail, parse_time
from progress_samples import NODE, detail, halfway

NOW = datetime(2026, 3, 1, 10, 0, 5, tzinfo=UTC)


def drawn(height: int = 1000, *, width: int = 160, ascii_only: bool = False) -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8")
    console = Console(file=file, width=width)
    assert console.options.ascii_only == ascii_only
    pen = Pen(now=NOW, width=width, ascii_only=ascii_only)
    console.print(tree(pen, "Scale from 3 to 5 shards", halfway(), height=height))
    file.seek(0)
    return file.read().splitlines()


class TestDetail:
    def test_every_member_is_read(self) -> None:
        assert parse_detail(detail("0 5460", "in progress", "to start", "12/300", 4096)) == Migration(
            node_id=NODE,
            first_slot=0,
            last_slot=5460,
            full="in progress",
            increment="to start",
            keys=12,
            keys_planned=300,
            bytes=4096,
        )

    def test_the_form_of_the_reference_is_enough(self) -> None:
        found = parse_detail("{node_id:abc,slot_range:[0 5460],full_migration:in progress,inc_migration:to start}")
        assert found
        assert (found.last_slot, found.keys, found.keys_planned, found.bytes) == (5460, 0, 0, 0)

    @pytest.mark.parametrize(
        "text",
        [
            "{ node_id: abc , slot_range: [7 9], unknown: {x}, keys: 3/4 }",
            "{slot_range:[7,9],keys:3/4,reason:source: Connection lost; target: gone",
            "slot_range:[7 9] keys_planned:9,keys:3/4",
        ],
    )
    def test_other_spellings_are_tolerated(self, text: str) -> None:
        found = parse_detail(text)
        assert found
        assert (found.first_slot, found.last_slot, found.keys, found.keys_planned) == (7, 9, 3, 4)

    @pytest.mark.parametrize("text", ["", "{}", "Free memory: 12 GB", "{slot_range:}", "{slot_range:[]}"])
    def test_what_is_no_migration_is_none(self, text: str) -> None:
        assert parse_detail(text) is None


class TestProgress:
    def test_only_finished_ranges_count_as_moved(self) -> None:
        found = moved(halfway())
        assert (found.ranges, found.keys, found.bytes, found.seconds) == (1, 20000, 5_000_000, 2.0)
        assert found.keys_per_second == 10000

    def test_empty_answers_are_tolerated(self) -> None:
        assert progress_of(ShowBackgroundTaskProgressResponse()).steps == ()
        answer = ShowBackgroundTaskProgressResponse(progress=0, step_details=[StepDetail(step_name="Pre-check.")])
        assert progress_of(answer).steps[0].sub_steps == ()

    @pytest.mark.parametrize("text", [None, "", "soon", "2022-09-01 11:52:24"])
    def test_a_time_without_a_zone_is_no_time(self, text: str | None) -> None:
        assert parse_time(text) is None


class TestTree:
    def test_it_shows_steps_bars_status_elapsed_and_ranges(self) -> None:
        lines = drawn()
        assert len(lines) == 7
        assert "Scale from 3 to 5 shards" in lines[0]
        assert "47 %  6 s left" in lines[0]
        assert "✓ Resource check." in lines[2]
        assert "FINISH      1.0 s" in lines[2]
        assert "EXECUTING   4.0 s" in lines[3]
        assert "slots 0-1092 of 9f86d0: handed over, 20,000/20,000 keys, 4.8 MB" in lines[4]
        assert "slots 5461-6552 of 9f86d0: snapshot, 5,000/20,000 keys, 1.2 MB" in lines[5]
        assert [line.count("━") for line in lines[4:]] == [14, 4, 0]

    def test_a_low_terminal_sees_the_sub_steps_of_what_runs(self) -> None:
        text = "\n".join(drawn(height=6))
        assert "Pre-check." in text
        assert "Resource check." not in text
        assert "Slots 5461-6552" in text

    def test_a_narrow_terminal_sees_everything(self) -> None:
        lines = drawn(width=80)
        assert len(lines) == 10
        assert "FINISH      2.0 s" in lines[4]
        assert "slots 0-1092 of 9f86d0: handed over, 20,000/20,000 keys, 4.8 MB" in lines[5]

    def test_a_plain_terminal_gets_plain_characters(self) -> None:
        text = "".join(drawn(ascii_only=True))
        assert text.isascii()
        assert "+ Resource check." in text
        assert "####.." in text


class TestChanges:
    def test_the_first_sight_tells_what_is_under_way(self) -> None:
        lines = changes(None, halfway())
        assert lines[0] == "Pre-check. FINISH"
        assert not [line for line in lines if "10923" in line]

    def test_nothing_new_is_no_line(self) -> None:
        assert changes(halfway(), halfway()) == []

    def test_steps_that_the_plan_adds_are_no_news_of_the_others(self) -> None:
        planned = halfway()
        first = msgspec.structs.replace(planned, steps=planned.steps[1:])
        assert changes(first, planned) == ["Pre-check. FINISH", "Pre-check. Resource check. FINISH"]

    def test_ten_percent_more_is_a_line(self) -> None:
        assert changes(halfway(47), halfway(49)) == []
        assert changes(halfway(49), halfway(51)) == ["slots 5461-6552 of 9f86d0: snapshot, 5,000/20,000 keys, 1.2 MB"]


class TestDrawing:
    def test_a_pipe_gets_lines_and_no_control_characters(self) -> None:
        file = io.StringIO()
        with ProgressView(Console(file=file, width=200), "Scale") as drawing:
            drawing.show(halfway(), "clients: fine")
            drawing.show(halfway(), "clients: fine")
        lines = file.getvalue().splitlines()
        assert lines[0] == "Scale"
        assert len(lines) == 6
        assert "47 %   6 s left  Pre-check. FINISH" in lines[1]
        assert "\x1b" not in file.getvalue()

    def test_a_terminal_gets_the_tree(self) -> None:
        file = io.StringIO()
        with ProgressView(Console(file=file, width=200, height=50, force_terminal=True), "Scale") as drawing:
            drawing.show(halfway(), "clients: fine")
        assert "└──" in file.getvalue()
        assert "clients: fine" in file.getvalue()
