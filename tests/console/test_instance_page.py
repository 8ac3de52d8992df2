"""The page of an instance: its nodes, parameters, accounts, backups, migrations and diagnosis."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from valkey import Valkey

from caches import cache, serves
from console.steps import Picture, accessible, open_instance
from migrating import served
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import outside_server
from sdk_calls import PASSWORD, backed_up, created, newest_task, show
from serving import Server, until


def test_hosts_are_shown_with_the_nodes_of_the_project(page: Page, cluster: tuple[Any, str]) -> None:
    page.get_by_role("link", name="Hosts").click()
    expect(page.get_by_role("table", name="Hosts").get_by_role("rowheader")).to_have_text("local")
    expect(page.get_by_role("table", name="Nodes").get_by_role("link", name=cluster[1]).first).to_be_visible()
    accessible(page)


def test_a_click_on_content_that_is_replaced_meanwhile_is_not_lost(page: Page) -> None:
    show_in_box = """async (text) => {
        const { h, show } = await import("/console/dom.js");
        window.clicks ??= [];
        window.box ??= document.body.appendChild(h("div"));  // main is filled again when the page has loaded
        show(window.box, h("button", { onclick: () => window.clicks.push(text) }, text));
    }"""
    page.evaluate(show_in_box, "first")
    page.get_by_role("button", name="first").hover()
    page.mouse.down()
    page.evaluate(show_in_box, "second")
    page.evaluate(show_in_box, "third")
    page.mouse.up()
    expect(page.get_by_role("button", name="third")).to_be_visible()
    assert page.evaluate("window.clicks") == ["first"]
    expect(page.get_by_role("button", name=re.compile("first|second"))).to_have_count(0)


def test_servers_are_shown_with_their_latest_reports(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="Servers").click()
    servers = page.get_by_role("table", name="Servers")
    expect(servers.get_by_role("row")).to_have_count(2)
    expect(servers).to_contain_text("performs them")
    expect(servers).to_contain_text(re.compile(r"\d s ago"))
    expect(page.get_by_role("table", name="Takeovers")).to_contain_text("only one that uses the database")
    accessible(page)
    picture(page, "console-servers")


def test_data_of_a_server_outside_is_migrated(page: Page, server: Server, tmp_path: Path) -> None:
    client = server.client()
    instance_id = created(client, 1, name="receiving")
    open_instance(page, instance_id)
    with outside_server(tmp_path) as source:
        source.client().set("key", "value")
        page.get_by_role("button", name="Migrate from a server").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="Source HOST").fill(source.address)
        dialog.get_by_label("Password").fill(SOURCE_PASSWORD)
        accessible(page)
        dialog.get_by_role("button", name="Start").click()
        row = page.get_by_role("region", name="Migrations").get_by_role("row", name=source.address)
        expect(row).to_contain_text("ready for the cut-over")
        accessible(page)
        page.get_by_role("button", name="Cut-over of migration").click()
        dialog.get_by_role("button", name="Cut over").click()
        expect(row).to_contain_text("SUCCESS")
        source.client().set("imported", "value")
        source.client().save()
        with served(tmp_path) as url:
            page.get_by_role("button", name="Import RDB files").click()
            dialog.get_by_label("URLs").fill(f"{url}/dump.rdb")
            accessible(page)
            dialog.get_by_role("button", name="Import").click()
            row = page.get_by_role("region", name="Migrations").get_by_role("row", name=url)
            expect(row).to_contain_text("SUCCESS")
    assert cache(client, instance_id).mget_nonatomic("key", "imported") == [b"value", b"value"]


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
    keep_writes(page, "24")
    expect(page.get_by_text("kept for 24 hours")).to_be_visible()
    page.get_by_role("button", name="Past data").click()
    expect(dialog.get_by_label("Second")).not_to_have_value("")
    accessible(page)
    dialog.get_by_role("button", name="Back up").click()
    past = page.get_by_role("region", name="Backups").get_by_role("row", name="manual")
    expect(past).to_contain_text("succeed")
    past.get_by_role("button", name="Deletion").click()
    dialog.get_by_role("button", name="Delete").click()
    keep_writes(page, "0")
    expect(page.get_by_text("Past data: not kept")).to_be_visible()


def keep_writes(page: Page, hours: str) -> None:
    page.get_by_role("button", name="Change write log").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Hours to keep").fill(hours)
    dialog.get_by_role("button", name="Change").click()


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
    node = next(process for process in server.nodes() if any(name in " ".join(process.info["cmdline"]) for name in own))
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


def test_keys_slow_commands_and_clients_are_shown(page: Page, cluster: tuple[Any, str]) -> None:
    client, instance_id = cluster
    with cache(client, instance_id) as caches:
        caches.rpush("basket", *range(300))
        caches.eval("local began = os.clock() while os.clock() - began < 0.02 do end", 1, "basket")
    open_instance(page, instance_id)
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Find hot keys").click()
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("alert")).to_contain_text("DCS.4919")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Find big keys").click()
    accessible(page)
    dialog.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Show big keys").click()
    big = page.get_by_role("region", name="Big keys")
    expect(big.get_by_role("row", name="basket")).to_contain_text("300 elements")
    accessible(page)
    page.get_by_role("button", name="Slow commands").click()
    expect(page.get_by_role("region", name="Slow commands")).to_contain_text("os.clock")
    page.get_by_role("button", name="Schedule analyses").click()
    dialog.get_by_label("Big keys").fill("03:00, 22:30")
    dialog.get_by_role("button", name="Change").click()
    expect(page.get_by_text("Big keys: daily at 03:00, 22:30 UTC.")).to_be_visible()
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, client_name="app") as app:
        app.ping()
        page.get_by_role("button", name="Clients").click()
        row = page.get_by_role("region", name="Connections of clients").get_by_role("row", name="app")
        row.get_by_role("button", name="Close").click()
        expect(row).to_have_count(0)
    accessible(page)
    page.get_by_role("button", name="Slow commands").click()
    with cache(client, instance_id) as caches:
        caches.ping()
        page.get_by_role("button", name="Clients").click()
        page.get_by_role("button", name="Close all").click()
        dialog.get_by_role("button", name="Close all connections").click()
        expect(page.get_by_role("region", name="Tasks")).to_contain_text("KillClients")
