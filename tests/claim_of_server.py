"""The claim of a server to perform tasks, as nodes of other machines need it."""

import msgspec

from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from standalone_node import OPEN


class RefusingClaim:
    """A claim that is not valid for the next commands.

    :ivar refusals: number of these commands.
    :ivar asked: number of commands so far.
    """

    def __init__(self, refusals: float = 0) -> None:
        self.refusals = refusals
        self.asked = 0

    def require(self, *, ending: bool = False) -> None:
        self.asked += 1
        if self.refusals > 0 and not ending:
            self.refusals -= 1
            raise DatabaseUnavailable("the claim was not renewed")


def access_with(claim: RefusingClaim) -> Access:
    """Access to nodes that have only the user `default`, as long as the claim is valid."""
    made: Access = msgspec.structs.replace(OPEN, require_claim=claim.require)
    return made


def elsewhere(node: Node) -> Node:
    """The node as if it was one of another machine."""
    return msgspec.structs.replace(node, host_name="h2")
