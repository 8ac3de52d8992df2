"""Signing in as a person does."""

from playwright.sync_api import Page

PASSWORD = "Console-password-1"


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
