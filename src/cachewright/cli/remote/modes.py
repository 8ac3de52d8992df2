"""The option that chooses how slots move."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

MigrationMode = Literal["fastest", "balanced", "gentle"]

Mode = Annotated[
    MigrationMode | None,
    Parameter(
        help="How slots move. fastest: whole ranges, clients wait longest. balanced (default): short waits. "
        "gentle: a few keys at a time, shortest waits; takes several times as long. Nodes without clients move "
        "slots as fast as they can in every mode."
    ),
]


def with_mode(body: dict[str, Any], mode: MigrationMode | None) -> dict[str, Any]:
    """Add the mode to the body of a resize request, if one was chosen."""
    return body | ({"migration_mode": mode} if mode else {})
