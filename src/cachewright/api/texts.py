"""Rules for free texts of callers that other people and programs read."""

import unicodedata
from collections.abc import Sequence

from cachewright.api.requests import refused
from cachewright.api.schemas.instance_bodies import Tag

_KEY_SIGNS = frozenset(" _.:=+-@")
_VALUE_SIGNS = _KEY_SIGNS | {"/"}
_LETTERS = ("L", "M", "N")
"""Categories of Unicode: letters, marks (parts of letters in many languages), numbers."""

_RESERVED = "_sys_"
_LINES = frozenset("\n\t")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the displayed order of a text, which can disguise its content."""


def require_tags(tags: Sequence[Tag]) -> None:
    """Raise ApiError DCS.4062 if a key or a value has characters that the cloud does not accept.

    Source: the cloud's page on tags of DCS instances, table "Tag key and value requirements".
    """
    for number, tag in enumerate(tags):
        if tag.key.startswith(_RESERVED):
            raise refused(f"tags[{number}].key", f"it begins with {_RESERVED}, which is reserved")
        _require_tag_text(f"tags[{number}].key", tag.key, _KEY_SIGNS)
        _require_tag_text(f"tags[{number}].value", tag.value, _VALUE_SIGNS)


def require_line(field: str, text: str | None) -> None:
    """Raise ApiError with the field's code if `text` has control characters."""
    _require_printable(field, text or "", frozenset())


def require_lines(field: str, text: str | None) -> None:
    """Same as `require_line`, for texts with several lines."""
    _require_printable(field, text or "", _LINES)


def _require_tag_text(field: str, text: str, signs: frozenset[str]) -> None:
    if text != text.strip(" "):
        raise refused(field, "it begins or ends with a space")
    if not all(character in signs or unicodedata.category(character)[0] in _LETTERS for character in text):
        raise refused(field, f"it may have letters, digits, spaces and {' '.join(sorted(signs - {' '}))}")


def _require_printable(field: str, text: str, allowed: frozenset[str]) -> None:
    for character in text:
        if character not in allowed and (unicodedata.category(character) == "Cc" or character in _BIDI_CONTROLS):
            raise refused(field, f"it has the control character U+{ord(character):04X}")
