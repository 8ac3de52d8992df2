"""A resize is planned, confirmed, watched, held, cancelled and repeated in the console."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from caches import cache, load
from console.steps import Picture, accessible, open_instance, owned
from sdk_calls import ended, newest_task, progress, resize
from serving import Server, until

KEYS = 120_000


@pytest.fixture(scope="module")
def loaded(cluster: tuple[Any, str]) -> tuple[Any, str]:
    """The cluster, with data."""
    load(cache(*cluster), KEYS, size=1000)
    return cluster


def plan(page: Page, shards: int) -> None:
    page.get_by_role("button", name="Resize").click()
    page.get_by_role("dialog").get_by_label("Shards").fill(str(shards))
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("dialog").get_by_role("table", name="Steps of the plan")).to_be_visible()


def one_that_scales(client: Any, instance_id: str) -> Any:
    newest = newest_task(client, instance_id)
    return newest if newest.name == "EXTEND" else None


def test_a_scale_is_planned_confirmed_and_watched(
    page: Page, server: Server, loaded: tuple[Any, str], picture: Picture
) -> None:
    client, instance_id = loaded
    before = newest_task(client, instance_id).id
    open_instance(page, instance_id)
    expect(page.locator(".legend li")).to_have_count(2)
    page.get_by_role("button", name="Resize").click()
    page.get_by_role("dialog").get_by_label("Replicas per shard").fill("1")
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_text("0 to 1 replicas per shard")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    plan(page, 4)
    expect(page.get_by_text("2 to 4 shards")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("8,192 slots")
    accessible(page)
    picture(page, "console-plan")
    assert newest_task(client, instance_id).id == before, "a plan touches nothing"
    page.evaluate(
        """() => {
            window.seen = [];
            const look = () => {
                const ring = document.querySelector(".ring");
                if (ring) window.seen.push([ring.getAttribute("aria-label"), ring.querySelectorAll(".coming").length]);
            };
            new MutationObserver(look).observe(document.querySelector("#main"), { childList: true, subtree: true });
        }"""
    )
    page.get_by_role("dialog").get_by_role("button", name="Resize").click()
    scaling = until(lambda: one_that_scales(client, instance_id), "no scale begins")
    path = f"instances/{instance_id}/tasks/{scaling.id}/control"
    assert server.call("PUT", path, {"latency_ceiling_ms": 0.000001})[0] == 200  # which holds it in its migration
    expect(page.locator(".ring .coming").first).to_be_visible()
    picture(page, "console-scaling")
    expect(page.locator(".running")).to_contain_text("EXTEND")
    assert server.call("PUT", path, {"state": "running"})[0] == 200
    expect(page.locator(".ring")).to_have_attribute("aria-label", owned(4096, 4096, 4096, 4096))
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")
    expect(page.locator(".running")).to_have_count(0)
    labels = page.evaluate("window.seen")
    assert [
        label for label, _ in labels if not re.search("16384 of 16384 slots are owned|No node answers", label)
    ] == []
    assert max(coming for _, coming in labels) >= 1
    assert len({label for label, _ in labels}) > 2, "the ring changed on the way"
    accessible(page)


def test_a_task_tells_all_of_itself(page: Page, loaded: tuple[Any, str], picture: Picture) -> None:
    client, instance_id = loaded
    if one_that_scales(client, instance_id) is None:  # the test before this one may run elsewhere
        resize(client, instance_id, 4)
    scaled = ended(client, instance_id, one_that_scales(client, instance_id).id)
    assert scaled.status == "SUCCESS"
    page.evaluate("location.hash = '#/tasks'")
    page.get_by_role("link", name="EXTEND").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("EXTEND SUCCESS")
    steps = page.locator(".steps > li")
    told = progress(client, instance_id, scaled.id).step_details
    expect(steps).to_have_count(len(told))
    for step, shown in zip(told, steps.all(), strict=True):
        expect(shown).to_contain_text(step.step_name)
        expect(shown.locator("ol > li")).to_have_count(len(step.sub_step_details))
    expect(page.get_by_text("100 %").first).to_be_visible()
    expect(page.get_by_role("img", name="Migration throughput")).to_be_visible()
    expect(page.get_by_text("Accuracy of the remaining time")).to_be_visible()
    accessible(page)
    picture(page, "console-task")


def test_a_task_is_held_back_cancelled_and_tried_again(
    page: Page, server: Server, loaded: tuple[Any, str], picture: Picture
) -> None:
    client, instance_id = loaded
    task_id = resize(client, instance_id, 6)
    status, _ = server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "paused"})
    assert status == 200
    page.evaluate(f"location.hash = '#/tasks/{task_id}'")
    expect(page.locator(".waits")).to_have_text(re.compile(r"^Paused since \d+:\d\d:\d\d"))
    mode = page.get_by_label("Mode")
    expect(mode).to_have_value("balanced")
    mode.select_option("gentle")
    until(
        lambda: server.call("GET", f"tasks/{task_id}")[1]["control"]["mode"] == "gentle",
        "the mode did not change",
    )
    expect(mode).to_have_value("gentle")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("EXTEND CANCELLED")
    expect(page.locator(".failure")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("Finished work stays")
    accessible(page)
    picture(page, "console-cancelled")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("EXTEND SUCCESS")
    expect(page.get_by_text("attempt 2")).to_be_visible()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
