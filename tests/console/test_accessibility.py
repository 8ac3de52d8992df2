"""The console is used without a mouse, and can be read in either light."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from console.signing import sign_in
from console.steps import Picture, accessible, open_instance


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
