"""Retired words do not come back: the code, the console and the documentation use standard terms."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src/cachewright", "docs")
SUFFIXES = {".py", ".js", ".html", ".css", ".md", ".yml"}
PAGES = ("README.md", "SECURITY.md")
NOT_CHECKED = ("src/cachewright/store/migrations/versions/", "docs/benchmarks", "docs/decisions/")
"""Migrations name old columns; decisions and measurements are records of their time."""

RETIRED = {
    r"hurry|hurried": "priority",
    r"wish|wishes|wished": "request; state of a task's control",
    r"vitals?": "statistics",
    r"stand-ins?": "placeholder primary",
    r"sights?": "info, view",
    r"ledgers?": "recorder",
    r"courier": "webhook delivery",
    r"divisible": "interruptible",
    r"glimpses?": "sample",
    r"rental|rented": "demo instance",
    r"adrift": "orphaned",
    r"broken off": "interrupted",
    r"foretells?|foretold": "estimates",
    r"oftener|seldom|anew|whoever": "more often, rarely, again, the user",
    r"(is|are|was|were) (asked|said) (for|of)": "is requested, is queried",
}
"""What to write instead, by the retired words."""

ALLOWED = {
    "src/cachewright/api/schemas/control.py": r"wish",  # the deprecated field of version 0.1.0
    "src/cachewright/valkey/config.py": r"stand-in",  # part of an id that running nodes have
}


def lines() -> Iterator[tuple[str, int, str]]:
    """Path, number and text of each line that is checked."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    for path in [*found, *(ROOT / page for page in PAGES)]:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NOT_CHECKED):
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                yield name, number, line


@pytest.mark.parametrize("words", RETIRED)
def test_a_retired_word_is_not_used(words: str) -> None:
    pattern = re.compile(rf"\b({words})\b", re.IGNORECASE)
    hits = [
        f"{name}:{number}: {line.strip()}"
        for name, number, line in lines()
        if (match := pattern.search(line)) and not re.search(ALLOWED.get(name, r"(?!)"), match[0], re.IGNORECASE)
    ]
    assert not hits, f"write {RETIRED[words]} instead:\n" + "\n".join(hits)
