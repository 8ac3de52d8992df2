"""Query parameters for a page of a list."""

from typing import Annotated

import msgspec

Offset = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class PageQuery(msgspec.Struct, frozen=True):
    offset: Offset = 0
    limit: Limit = 10
