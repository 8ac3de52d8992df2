"""Who signs in to the console, and what they see."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from console.signing import administer, sign_in
from console.steps import accessible, open_instance
from serving import Server


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
