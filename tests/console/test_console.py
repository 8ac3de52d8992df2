"""What a person does with the console: signs in, makes a cluster, scales it and watches, looks into what has failed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from signing import administer, sign_in

from caches import cache, load, serves
from cachewright.hosts.programs import find_haproxy
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import outside_server
from sdk_calls import backed_up, created, ended, newest_task, progress, resize, window
from serving import Server, until

KEYS = 120_000
SLOW = 60_000
"""Milliseconds that a real cluster may take for something on a busy machine."""

Picture = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def cluster(server: Server) -> tuple[Any, str]:
    """A client and the id of an instance of two shards with data."""
    client = server.client()
    instance_id = created(client, 2, name="orders")
    load(cache(client, instance_id), KEYS, size=1000)
    return client, instance_id


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    expect.set_options(timeout=SLOW)
    yield
    expect.set_options(timeout=5000)


def open_instance(page: Page, instance_id: str) -> None:
    page.evaluate(f"location.hash = '#/instances/{instance_id}'")
    expect(page.locator(".ring")).to_be_visible()


def open_single(page: Page, instance_id: str) -> None:
    page.evaluate(f"location.hash = '#/instances/{instance_id}'")
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")


def plan(page: Page, shards: int) -> None:
    page.get_by_role("button", name="Resize").click()
    page.get_by_role("dialog").get_by_label("Shards").fill(str(shards))
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("dialog").get_by_role("table", name="Steps of the plan")).to_be_visible()


def owned(*slots: int) -> str:
    """What the ring tells those who cannot see it, when nothing moves."""
    shares = ", ".join(f"group-{shard} {count}" for shard, count in enumerate(slots))
    return f"Slot ring. {sum(slots)} of 16384 slots are owned: {shares}."


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_wrong_password_is_told(new_page: Callable[..., Page]) -> None:
    page = new_page()
    accessible(page)
    sign_in(page, "admin", "Wrong-password-1")
    expect(page.get_by_role("alert")).to_contain_text("DCS.1001")
    expect(page.get_by_label("Password")).to_be_focused()
    sign_in(page, "admin")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Instances")


def test_signing_out_is_for_good(page: Page, server: Server) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text("Instances")
    kept = page.context.cookies()
    assert [(one["name"], one["httpOnly"], one["sameSite"]) for one in kept] == [
        ("cachewright_session", True, "Strict")
    ]
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Instances")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert page.context.cookies() == []
    page.context.add_cookies(kept)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_hosts_are_shown_with_the_nodes_of_the_project(page: Page, cluster: tuple[Any, str]) -> None:
    page.get_by_role("link", name="Hosts").click()
    expect(page.get_by_role("table", name="Hosts").get_by_role("rowheader")).to_have_text("local")
    expect(page.get_by_role("table", name="Nodes").get_by_role("link", name=cluster[1]).first).to_be_visible()
    accessible(page)


def test_a_cluster_is_made_and_deleted(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Name").fill("sessions")
    page.get_by_role("dialog").get_by_label("Shards").fill("2")
    password = page.get_by_label("Password of its clients")
    expect(password).to_have_attribute("minlength", "8")
    expect(password).to_have_attribute("maxlength", "32")
    expect(page.get_by_role("dialog")).to_contain_text("8 to 32 characters")
    password.fill("weak")
    accessible(page)
    page.get_by_label("Password of its clients").fill("weakweakweak")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("DCS.4019")
    page.get_by_label("Password of its clients").fill("Client-password-1")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("sessions RUNNING")
    expect(page.locator(".ring")).to_have_attribute("aria-label", owned(8192, 8192))
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Name of the instance").fill("orders")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("The name does not match.")
    page.get_by_label("Name of the instance").fill("sessions")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The instance was deleted.")).to_be_visible()


def test_data_of_a_server_outside_is_migrated(page: Page, server: Server, tmp_path: Path) -> None:
    client = server.client()
    instance_id = created(client, 1, name="receiving")
    open_instance(page, instance_id)
    with outside_server(tmp_path) as source:
        source.client().set("key", "value")
        page.get_by_role("button", name="Migrate from a server").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Source").fill(source.address)
        dialog.get_by_label("Password").fill(SOURCE_PASSWORD)
        accessible(page)
        dialog.get_by_role("button", name="Start").click()
        row = page.get_by_role("region", name="Migrations").get_by_role("row", name=source.address)
        expect(row).to_contain_text("ready for the cut-over")
        accessible(page)
        page.get_by_role("button", name="Cut-over of migration").click()
        dialog.get_by_role("button", name="Cut over").click()
        expect(row).to_contain_text("SUCCESS")
    assert cache(client, instance_id).get("key") == b"value"


def test_accounts_and_backups_are_made_changed_and_deleted(page: Page, server: Server) -> None:
    client = server.client()
    instance_id = created(client, 1, name="guarded")
    open_instance(page, instance_id)
    table = page.get_by_role("region", name="Accounts")
    expect(table.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Create account").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Account").fill("reports")
    dialog.get_by_label("Password").fill("weakweakweak")
    accessible(page)
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("DCS.4019")
    dialog.get_by_label("Password").fill("Reports-password-1")
    dialog.get_by_role("button", name="Create").click()
    row = table.get_by_role("row", name="reports")
    expect(row).to_contain_text("Read only")
    expect(row).to_contain_text("AVAILABLE")
    accessible(page)
    page.get_by_role("button", name="Role of reports").click()
    dialog.get_by_label("Role").select_option("write")
    dialog.get_by_role("button", name="Change").click()
    expect(row).to_contain_text("Read and write")
    page.get_by_role("button", name="Password of default").click()
    dialog.get_by_label("No password").check()
    dialog.get_by_role("button", name="Change").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Disable commands").click()
    dialog.get_by_label("keys").check()
    dialog.get_by_role("button", name="Change").click()
    expect(page.get_by_text("Disabled commands: keys")).to_be_visible()
    page.get_by_role("button", name="Deletion of reports").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    backups_are_made_and_deleted(page)


def backups_are_made_and_deleted(page: Page) -> None:
    """On the page of an instance."""
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Change schedule").click()
    dialog.get_by_label("Back up by a schedule").check()
    accessible(page)
    dialog.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_contain_text("DCS.4075")
    dialog.get_by_label("Monday").check()
    dialog.get_by_role("button", name="Change").click()
    expect(page.get_by_text("Schedule: Monday at 02:00 UTC; kept for 7 days")).to_be_visible()
    page.get_by_role("button", name="Back up").click()
    dialog.get_by_label("Remark").fill("before the sale")
    dialog.get_by_role("button", name="Back up").click()
    kept = page.get_by_role("region", name="Backups").get_by_role("row", name="before the sale")
    expect(kept).to_contain_text("succeed")
    accessible(page)
    kept.get_by_role("button", name="Files").click()
    dialog.get_by_role("button", name="Create links").click()
    expect(dialog.get_by_role("link")).to_have_count(1)
    dialog.get_by_role("button", name="Close").click()
    kept.get_by_role("button", name="Deletion").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(kept).to_have_count(0)


def test_a_single_instance_is_made_resized_and_restarted(page: Page, server: Server, picture: Picture) -> None:
    page.get_by_role("button", name="Create").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("lone")
    dialog.get_by_label("Type").select_option("single")
    expect(dialog.get_by_label("Shards")).to_be_hidden()
    dialog.get_by_label("Memory of the node").select_option(label="0.5 GB")
    accessible(page)
    dialog.get_by_label("Password").fill("Client-password-1")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("lone RUNNING")
    expect(page.locator(".ring")).to_have_count(0)
    expect(page.get_by_role("heading", name="Slots")).to_be_hidden()
    node = page.get_by_role("region", name="Node", exact=True)
    expect(node.get_by_role("row")).to_have_count(2)
    expect(node).to_contain_text("Active")
    accessible(page)

    page.get_by_role("button", name="Resize").click()
    dialog.get_by_label("Memory of each node").select_option(label="1 GB")
    dialog.get_by_role("button", name="Plan").click()
    expect(dialog).to_contain_text("changes online")
    accessible(page)
    dialog.get_by_role("button", name="Resize").click()
    expect(page.get_by_text("redis.single.xu1.large.1")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("lone RUNNING")
    page.get_by_role("button", name="Restart").click()
    dialog.get_by_role("button", name="Restart").click()
    expect(page.get_by_role("row", name="RestartInstance")).to_contain_text("SUCCESS")
    expect(page.get_by_role("heading", level=1)).to_contain_text("lone RUNNING")
    picture(page, "console-single")
    instance_id = page.evaluate("location.hash.split('/')[2]")
    assert server.call("PUT", f"instances/{instance_id}", window(6))[0] == 204
    page.get_by_role("button", name="Resize").click()
    dialog.get_by_label("Memory of each node").select_option(label="2 GB")
    dialog.get_by_label("Begin in the maintenance window").check()
    dialog.get_by_role("button", name="Plan").click()
    expect(dialog).to_contain_text("changes online")
    dialog.get_by_role("button", name="Resize").click()
    page.get_by_role("row", name="WAITING").get_by_role("link").first.click()
    expect(page.get_by_text("the maintenance window, which begins at")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("FAILED")
    open_single(page, instance_id)
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Name of the instance").fill("lone")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The instance was deleted.")).to_be_visible()


def test_a_primary_with_replicas_is_made_and_deleted(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Create").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("pair")
    dialog.get_by_label("Type").select_option("ha")
    expect(dialog.get_by_label("Shards")).to_be_hidden()
    dialog.get_by_label("Memory of each node").select_option(label="0.5 GB")
    dialog.get_by_role("spinbutton", name="Replicas").fill("2")
    accessible(page)
    dialog.get_by_label("Password").fill("Client-password-1")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("pair RUNNING")
    nodes = page.get_by_role("region", name="Nodes", exact=True)
    expect(nodes.get_by_role("row")).to_have_count(4)
    expect(nodes.get_by_role("row", name="replica")).to_have_count(2)
    expect(page.get_by_text("redis.ha.xu1.tiny.r3.512").first).to_be_visible()
    if find_haproxy():
        panel = page.locator(".connections")
        panel.get_by_role("button", name="Switch TLS on").click()
        accessible(page)
        dialog.get_by_role("button", name="Switch").click()
        expect(panel).to_contain_text("TLS: on, certificate valid until")
        with page.expect_download() as download:
            panel.get_by_role("link", name="CA certificate").click()
        assert download.value.suggested_filename == "ca.zip"
        panel.get_by_role("button", name="Change whitelist").click()
        dialog.get_by_label("Allowed addresses").fill("127.0.0.1, 10.0.0.0/8")
        accessible(page)
        dialog.get_by_role("button", name="Change").click()
        expect(panel).to_contain_text("Whitelist: 127.0.0.1, 10.0.0.0/8")
    page.get_by_role("button", name="Resize").click()
    for replicas, shown in (
        ("2", "Change either the memory"),
        ("0", "2 to 0"),
        ("1", "2 to 1"),
    ):
        dialog.get_by_role("spinbutton", name="Replicas").fill(replicas)
        dialog.get_by_role("button", name="Plan").click()
        expect(dialog).to_contain_text(shown)
    accessible(page)
    dialog.get_by_role("button", name="Resize").click()
    expect(nodes.get_by_role("row", name="replica")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_contain_text("pair RUNNING")
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Name of the instance").fill("pair")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The instance was deleted.")).to_be_visible()


def one_that_scales(client: Any, instance_id: str) -> Any:
    newest = newest_task(client, instance_id)
    return newest if newest.name == "EXTEND" else None


def test_a_scale_is_planned_confirmed_and_watched(
    page: Page, server: Server, cluster: tuple[Any, str], picture: Picture
) -> None:
    client, instance_id = cluster
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
    assert newest_task(client, instance_id).name == "CreateInstance", "a plan touches nothing"
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
    assert all("16384 of 16384 slots are owned" in label for label, _ in labels), "no slot was without an owner"
    assert max(coming for _, coming in labels) >= 1
    assert len({label for label, _ in labels}) > 2, "the ring changed on the way"
    accessible(page)


def test_a_task_tells_all_of_itself(page: Page, cluster: tuple[Any, str], picture: Picture) -> None:
    client, instance_id = cluster
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
    page: Page, server: Server, cluster: tuple[Any, str], picture: Picture
) -> None:
    client, instance_id = cluster
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
    expect(page.get_by_role("heading", level=1)).to_have_text("EXTEND FAILED")
    expect(page.locator(".failure")).to_contain_text("DCS.9005")
    expect(page.locator(".failure")).to_contain_text("cancel")
    accessible(page)
    picture(page, "console-failed")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("EXTEND SUCCESS")
    expect(page.get_by_text("attempt 2")).to_be_visible()
    assert ended(client, instance_id, task_id).status == "SUCCESS"


def test_the_page_goes_on_when_the_server_was_away(page: Page, server: Server, cluster: tuple[Any, str]) -> None:
    _, instance_id = cluster
    open_instance(page, instance_id)
    server.stop()
    expect(page.get_by_role("alert").first).to_contain_text("retrying")
    server.start()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert server.call("PUT", f"instances/{instance_id}", {"name": "renamed"})[0] == 204
    expect(page.get_by_role("heading", level=1)).to_contain_text("renamed")
    assert server.call("PUT", f"instances/{instance_id}", {"name": "orders"})[0] == 204


def test_a_dead_node_shows(page: Page, server: Server, cluster: tuple[Any, str]) -> None:
    _, instance_id = cluster
    open_instance(page, instance_id)
    inactive = page.locator(".shards .status.bad")
    expect(inactive).to_have_count(0)
    _, shown = server.call("GET", f"instances/{instance_id}/logical-nodes")
    own = {found["node_id"] for found in shown["nodes"]}
    node = next(process for process in server.nodes() if any(name in " ".join(process.cmdline()) for name in own))
    node.suspend()
    try:
        expect(inactive).to_have_count(1)
    finally:
        node.resume()
    expect(inactive).to_have_count(0)


def test_parameters_are_shown_and_changed(
    page: Page, server: Server, cluster: tuple[Any, str], picture: Picture
) -> None:
    client, instance_id = cluster
    open_instance(page, instance_id)
    table = page.get_by_role("region", name="Parameters")
    row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="maxmemory-policy"))
    expect(row.get_by_role("cell").first).to_have_text("noeviction")
    page.get_by_role("button", name="Change parameters").click()
    dialog = page.get_by_role("dialog")
    accessible(page)
    expect(dialog.get_by_label("appendonly")).to_have_count(0)
    dialog.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_have_text("No value was changed.")
    dialog.get_by_label("timeout", exact=False).first.fill("300")
    dialog.get_by_label("maxmemory-policy").select_option("allkeys-lru")
    dialog.get_by_label("notify-keyspace-events").fill("KEA")
    picture(page, "console-parameters")
    dialog.get_by_role("button", name="Change").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(row.get_by_role("cell").first).to_have_text("allkeys-lru")
    expect(page.locator(".tasks")).to_contain_text("UpdateInstanceConfig")
    assert newest_task(client, instance_id).name == "UpdateInstanceConfig"
    status, answer = server.call("GET", f"instances/{instance_id}/configs")
    assert status == 200
    now = {one["param_name"]: one["param_value"] for one in answer["redis_config"]}
    assert (now["timeout"], now["maxmemory-policy"], now["notify-keyspace-events"]) == ("300", "allkeys-lru", "KEA")
    accessible(page)
    page.get_by_role("button", name="Save as template").click()
    dialog.get_by_label("Name of the template").fill("saved-here")
    accessible(page)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Change parameters").click()
    expect(dialog.get_by_label("notify-keyspace-events")).to_have_value("KEA")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Change parameters").scroll_into_view_if_needed()
    picture(page, "console-parameter-table")
    page.get_by_role("link", name="Instances").click()
    page.get_by_role("button", name="Create").click()
    expect(dialog.get_by_label("Parameters").locator("option")).to_have_text(["Defaults", "saved-here"])
    page.keyboard.press("Escape")


def test_who_may_only_look_has_nothing_to_press(new_page: Callable[..., Page], cluster: tuple[Any, str]) -> None:
    page = new_page()
    sign_in(page, "watcher")
    expect(page.get_by_role("link", name="orders")).to_be_visible()
    expect(page.get_by_role("button", name="Create")).to_have_count(0)
    open_instance(page, cluster[1])
    expect(page.get_by_role("button", name="Resize")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    expect(page.get_by_role("region", name="Parameters")).to_be_visible()
    expect(page.get_by_role("button", name="Change parameters")).to_have_count(0)


def test_a_replica_is_promoted_and_everything_is_flushed_and_restored(page: Page, server: Server) -> None:
    client = server.client()
    instance_id = created(client, 1, copies=2, name="pair")
    cache(client, instance_id).set("a", "1")
    open_instance(page, instance_id)
    rows = page.get_by_role("region", name="Shards and their nodes").get_by_role("row")
    replica = rows.filter(has_text="replica")
    address = replica.get_by_role("cell").nth(6).inner_text()
    replica.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("no acknowledged write is lost")
    accessible(page)
    dialog.get_by_role("button", name="Change").click()
    expect(page.get_by_role("row", name="masterStandbySwapJob")).to_contain_text("SUCCESS")
    expect(rows.filter(has_text=address)).to_contain_text("primary")
    backed_up(client, instance_id)
    page.get_by_role("button", name="Flush").click()
    page.get_by_label("Name of the instance").fill("pair")
    dialog.get_by_role("button", name="Flush").click()
    expect(page.get_by_role("row", name="FlushInstance")).to_contain_text("SUCCESS")
    assert cache(client, instance_id).get("a") is None
    expect(page.get_by_role("heading", level=1)).to_contain_text("pair RUNNING")
    page.get_by_role("button", name="Restore").click()
    expect(dialog).to_contain_text("a failure changes nothing")
    accessible(page)
    dialog.get_by_label("Back up the present data first").uncheck()
    page.get_by_label("Name of the instance").fill("pair")
    dialog.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("row", name="RESTORE")).to_contain_text("SUCCESS")
    expect(page.get_by_role("heading", level=1)).to_contain_text("pair RUNNING")
    until(lambda: serves(client, instance_id), "the instance does not serve")
    assert cache(client, instance_id).get("a") == b"1"


def test_a_session_that_ends_shows_no_more(
    new_page: Callable[..., Page], server: Server, cluster: tuple[Any, str]
) -> None:
    administer(server, "users", "create", "former", "--role", "viewer")
    page = new_page()
    sign_in(page, "former")
    expect(page.get_by_role("link", name="orders")).to_be_visible()
    open_instance(page, cluster[1])
    administer(server, "users", "set-password", "former")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_it_is_used_without_a_mouse(new_page: Callable[..., Page], cluster: tuple[Any, str]) -> None:
    page = new_page()
    keys = page.keyboard
    page.get_by_label("User").focus()
    keys.type("admin")
    keys.press("Tab")
    keys.type("Console-password-1")
    keys.press("Enter")
    expect(page.get_by_role("link", name="orders")).to_be_visible()
    page.get_by_role("link", name="orders").focus()
    page.wait_for_timeout(2500)  # the list is drawn again meanwhile
    expect(page.get_by_role("link", name="orders")).to_be_focused()
    keys.press("Enter")
    expect(page.locator(".ring")).to_be_visible()
    page.get_by_role("button", name="Resize").focus()
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_label("Shards")).to_be_focused()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(page.locator(".ring")).to_be_visible()
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_either_light(
    new_page: Callable[..., Page], cluster: tuple[Any, str], scheme: str, picture: Picture
) -> None:
    page = new_page(scheme=scheme)
    sign_in(page, "admin")
    expect(page.get_by_role("link", name="orders")).to_be_visible()
    accessible(page)
    open_instance(page, cluster[1])
    accessible(page)
    picture(page, f"console-instance-{scheme}")
    page.get_by_role("button", name="Dark" if scheme == "light" else "Light").click()
    accessible(page)
    page.reload()
    expect(page.get_by_role("button", name="Light" if scheme == "light" else "Dark")).to_be_visible()
