"""The console of a real server in a real browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from console.signing import administer, sign_in
from console.steps import SLOW
from sdk_calls import created
from serving import Server

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_EXPECTED = "Failed to load resource"
"""What the browser says of a request that is refused, which tests ask for."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """For no longer than its tests: while it is there, no other test could run an event loop."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        assert "CI" not in os.environ, "there is no Chromium: apt-get install chromium"
        pytest.skip("THE CONSOLE IS NOT TESTED: there is no Chromium; install it (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("console") / "data")
    try:
        started.start()
        administer(started, "users", "set-password", "admin")
        administer(started, "users", "create", "watcher", "--role", "viewer")
        yield started
    finally:
        started.clean_up()


@pytest.fixture
def new_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens the console in a browser of its own. What a page complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and _EXPECTED not in message.text:
            complaints.append(message.text)

    def make(*, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]  # one of the three words
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server.credentials['endpoint']}/console")
        page.wait_for_selector("h1")
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """Signed in as an admin."""
    opened = new_page()
    sign_in(opened, "admin")
    return opened


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keeps a screenshot for the documentation where CONSOLE_IMAGES names a folder."""
    folder = os.environ.get("CONSOLE_IMAGES")

    def take(page: Page, name: str) -> None:
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take


@pytest.fixture(scope="package")
def cluster(server: Server) -> tuple[Any, str]:
    """A client and the id of an instance of two shards."""
    client = server.client()
    return client, created(client, 2, name="orders")


@pytest.fixture(autouse=True)
def _patience() -> Iterator[None]:
    expect.set_options(timeout=SLOW)
    yield
    expect.set_options(timeout=5000)
