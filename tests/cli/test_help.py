"""Help texts of the command line."""

from collections.abc import Iterator

import pytest
from cyclopts import App

from cachewright.cli.commands import app

GENERATED = {"--help", "-h", "--version", "--install-completion"}


def groups(parent: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """All commands that have commands below them, with the words that call them."""
    yield words, parent
    for name in parent:
        if name not in GENERATED and list(parent[name]):
            yield from groups(parent[name], (*words, name))


@pytest.mark.unit
def test_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    for words, group in groups(app):
        app([*words, "--help"], result_action="return_value")
        shown = capsys.readouterr().out
        for name in group:
            if name not in GENERATED:
                lines = [line.strip(" │") for line in shown.splitlines() if line.strip(" │").split()[:1] == [name]]
                assert any(len(line.split()) > 1 for line in lines), f"{' '.join((*words, name))} has no help text"
