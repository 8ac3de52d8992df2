"""Signing in as a person does, and passwords as the machine's owner sets them."""

import subprocess
import sys

from playwright.sync_api import Page

from serving import Server

PASSWORD = "Console-password-1"


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def administer(server: Server, *words: str) -> None:
    command = [sys.executable, "-m", "cachewright", *words, "--password-stdin", "--data-dir", str(server.data_dir)]
    subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True, timeout=60)
