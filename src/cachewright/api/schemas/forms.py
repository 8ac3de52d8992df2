"""Texts that must have a form: their patterns, and the words for an error."""

from collections.abc import Mapping

NAME = r"\A[A-Za-z][A-Za-z0-9_-]{3,63}\Z"
ACCOUNT_NAME = r"\A[A-Za-z][A-Za-z0-9_-]{0,63}\Z"
MIGRATION_NAME = r"\A[A-Za-z][A-Za-z0-9_-]{1,63}\Z"
HOUR_AND_MINUTE = r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z"
MOMENT = r"\A[0-9]{14}\Z"
WEB_ADDRESS = r"\Ahttps?://[!-~]+\Z"

_LETTERS = "letters, digits, dashes and underscores, and begin with a letter"
FORMS: Mapping[str, str] = {
    NAME: f"it must have 4 to 64 {_LETTERS}",
    ACCOUNT_NAME: f"it must have 1 to 64 {_LETTERS}",
    MIGRATION_NAME: f"it must have 2 to 64 {_LETTERS}",
    HOUR_AND_MINUTE: "it must be a time from 00:00 to 23:59",
    MOMENT: "it must be a time of 14 digits, such as 20260131235959",
    WEB_ADDRESS: "it must begin with http:// or https:// and have no spaces",
}
"""What an error says about a text that does not match a pattern."""
