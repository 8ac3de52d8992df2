"""What tests of the console do on many pages."""

from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

SLOW = 60_000
"""Milliseconds that a real cluster may take for something on a busy machine."""

Picture = Callable[[Page, str], None]


def open_instance(page: Page, instance_id: str) -> None:
    page.evaluate(f"location.hash = '#/instances/{instance_id}'")
    expect(page.locator(".ring")).to_be_visible()


def open_single(page: Page, instance_id: str) -> None:
    page.evaluate(f"location.hash = '#/instances/{instance_id}'")
    expect(page.get_by_role("heading", level=1)).to_contain_text("RUNNING")


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def owned(*slots: int) -> str:
    """What the ring tells those who cannot see it, when nothing moves."""
    shares = ", ".join(f"group-{shard} {count}" for shard, count in enumerate(slots))
    return f"Slot ring. {sum(slots)} of 16384 slots are owned: {shares}."
