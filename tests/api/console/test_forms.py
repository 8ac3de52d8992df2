"""Limits that the console's forms check in the browser, against those of the API."""

import json
import re
from importlib.resources import files

from cachewright.api.access_validation import ACCOUNT_PASSWORD_LENGTH, DISABLED_ON_REQUEST, PASSWORD_LENGTH


def script(name: str) -> str:
    return files("cachewright.api.console").joinpath("assets", name).read_text()


def length(name: str, constant: str) -> tuple[int, int]:
    found = re.search(rf"const {constant} = \{{ min: (\d+), max: (\d+) \}}", script(name))
    assert found
    return int(found[1]), int(found[2])


def test_forms_take_the_passwords_that_the_api_takes() -> None:
    assert length("instances.js", "PASSWORD_LENGTH") == length("accounts.js", "PASSWORD_LENGTH") == PASSWORD_LENGTH
    assert length("accounts.js", "ACCOUNT_PASSWORD_LENGTH") == ACCOUNT_PASSWORD_LENGTH


def test_the_form_of_disabled_commands_offers_those_that_the_api_takes() -> None:
    found = re.search(r"const COMMANDS = (\[.*\]);", script("accounts.js"))
    assert found
    assert tuple(json.loads(found[1])) == DISABLED_ON_REQUEST
