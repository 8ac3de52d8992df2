"""Limits that the console's forms check in the browser, against those of the API."""

import re
from importlib.resources import files

from cachewright.api.validation import PASSWORD_LENGTH


def test_the_form_of_a_new_instance_takes_the_passwords_that_the_api_takes() -> None:
    script = files("cachewright.api.console").joinpath("assets", "instances.js").read_text()
    found = re.search(r"const PASSWORD_LENGTH = \{ min: (\d+), max: (\d+) \}", script)
    assert found
    assert (int(found[1]), int(found[2])) == PASSWORD_LENGTH
