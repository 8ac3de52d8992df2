"""The page `docs/coverage.md`: supported operations of the cloud's client."""

from cachewright.api.openapi.catalog import FAMILIES, OPERATIONS
from cachewright.api.openapi.reasons import REASONS
from cachewright.api.routes.not_served import described_path
from cachewright.api.served import SERVED

_OPENING = """\
# Coverage

The cloud's Python client, huaweicloudsdkdcs 3.1.219, has {all} operations; {served} are served. The others answer 404
`DCS.4959` with the operation's name (decision [0011](decisions/0011-operations-not-served.md)). This page is rendered
by `python -m cachewright.api.openapi.coverage`; a test compares it with the client's class and with the running server.
"""


def render() -> str:
    there = {(str(method), described_path(handler)) for handler in SERVED for method in handler.http_methods}
    served = there & OPERATIONS.keys()
    lines = [_OPENING.format(all=len(OPERATIONS), served=len(served))]
    for family, operations in FAMILIES.items():
        count = sum((operation.method, operation.path) in served for operation in operations)
        lines += [f"## {family} ({count} of {len(operations)})", "", "| operation | call | |", "|---|---|---|"]
        for operation in operations:
            is_served = (operation.method, operation.path) in served
            state = "served" if is_served else f"not served: {REASONS[operation.name]}"
            lines.append(f"| {operation.name} | `{operation.method} {operation.path}` | {state} |")
        lines.append("")
    others = there - OPERATIONS.keys()
    of_iam = {call for call in others if call[1].startswith("/v3/")}
    lines += _listed("What clients ask of IAM v3", of_iam)
    lines += ["", *_listed("Extensions of this project", others - of_iam)]
    return "\n".join(lines) + "\n"


def _listed(title: str, calls: set[tuple[str, str]]) -> list[str]:
    by_path = sorted(calls, key=lambda call: call[::-1])
    return [f"## {title}", "", "| call |", "|---|", *(f"| `{method} {path}` |" for method, path in by_path)]


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # generates the page
