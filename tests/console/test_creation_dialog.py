"""Instances of each type are made in the console, changed and deleted."""

from playwright.sync_api import Page, expect

from cachewright.hosts.programs import find_haproxy
from console.steps import Picture, accessible, open_single, owned
from sdk_calls import window
from serving import Server


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


def made_a_cluster(page: Page) -> None:
    """Make the shown instance a cluster by the form."""
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Resize").click()
    dialog.get_by_label("Type").select_option("cluster")
    expect(dialog.get_by_label("Memory of each node")).to_be_hidden()
    dialog.get_by_label("Shards").fill("2")
    dialog.get_by_role("button", name="Plan").click()
    expect(dialog).to_contain_text("The instance becomes a cluster of 2 shards and keeps its address")
    expect(dialog.get_by_role("table", name="Steps of the plan")).to_contain_text("Replication to a cluster node.")
    accessible(page)
    dialog.get_by_role("button", name="Resize").click()
    expect(page.locator(".ring")).to_have_attribute("aria-label", owned(8192, 8192))
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")


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
    expect(page.get_by_role("heading", level=1)).to_contain_text("CANCELLED")
    open_single(page, instance_id)
    made_a_cluster(page)
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
        expect(
            panel.get_by_role("button", name="Change whitelist")
        ).to_be_enabled()  # else the link is about to be replaced
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
