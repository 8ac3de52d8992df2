"""Error replies of a node, and what each means for a task of the control plane. Pure.

Source: the error prefixes of Valkey 9.1, as observed; https://valkey.io/topics/protocol#simple-errors.
"""

from typing import Literal

import msgspec

Meaning = Literal["wait", "retry", "look again", "final"]
"""What a task does after an error reply.

===========  =================================================================================================
wait         the state passes by itself: wait until the node answers, without an attempt and without a limit
retry        the state passes only if somebody changes it: repeat the sub-step, which uses up one attempt
look again   another node is responsible by now: repeat the sub-step, which reads roles and owners again
final        repeating the command cannot help
===========  =================================================================================================
"""


class ErrorReply(msgspec.Struct, frozen=True):
    """One kind of error reply.

    :ivar prefix: beginning of the reply.
    :ivar cause: state of the node, in the words of the `detail` and the log.
    :ivar reason: why a task treats the reply as it does.
    """

    prefix: str
    meaning: Meaning
    cause: str
    reason: str

    @property
    def shown(self) -> str:
        """The cause with the prefix, in a form that can stand in a `detail`."""
        return f"{self.cause} ({self.prefix.split()[0]})"


ERROR_REPLIES = (
    ErrorReply("BUSY Valkey is busy running a module command", "wait", "a module command runs", "the command ends"),
    ErrorReply("BUSY", "wait", "a script runs", "the script ends by itself; one that has written cannot be killed"),
    ErrorReply("LOADING", "wait", "loads its data", "loading ends, and the supervisor restarts a node that dies"),
    ErrorReply("MASTERDOWN", "wait", "its primary is down", "the primary is restarted, or a replica takes over"),
    ErrorReply("TRYAGAIN", "wait", "a slot is moving", "the keys are on one node when the slot has moved"),
    ErrorReply("CLUSTERDOWN", "wait", "the cluster is down", "nodes are restarted, and wait two seconds after that"),
    ErrorReply("NOREPLICAS", "wait", "too few replicas", "replicas are restarted and connect again"),
    ErrorReply(
        "ERR max number of clients reached", "wait", "its connections are used up",
        "the control plane closes connections above `maxclients` every few seconds",
    ),
    ErrorReply("MISCONF", "retry", "cannot write to its disk", "somebody has to free space: `DCS.9007` says so"),
    ErrorReply("OOM", "retry", "out of memory", "a target without memory needs larger or more shards: `DCS.9002`"),
    ErrorReply("READONLY", "look again", "is a replica", "a replica has taken over"),
    ErrorReply("MOVED", "look again", "does not own the slot", "the slot has moved"),
    ErrorReply("ASK", "look again", "is giving the slot away", "the slot is moving"),
    ErrorReply("NOAUTH", "final", "rejects the control plane", "its users were changed: `DCS.9011` says what to do"),
    ErrorReply("WRONGPASS", "final", "rejects the control plane", "its users were changed: `DCS.9011`"),
    ErrorReply("NOPERM", "final", "rejects the control plane", "its users were changed: `DCS.9011`"),
    ErrorReply("ERR unknown command", "final", "lacks a command", "it is not a supported valkey-server"),
)  # fmt: skip
"""Every reply with a meaning of its own, by its prefix."""

OTHER = ErrorReply("", "retry", "refuses", "the reply may depend on a state that changes")
"""Any other error reply."""


def meaning_of(reply: str) -> ErrorReply:
    """Return the row of the table for an error reply."""
    return next((row for row in ERROR_REPLIES if _begins(reply, row.prefix)), OTHER)


def _begins(reply: str, prefix: str) -> bool:
    return reply.startswith(prefix) and not reply[len(prefix) : len(prefix) + 1].isalnum()


def render() -> str:
    """Return the page docs/node-replies.md."""
    lines = [
        "# Error replies of nodes",
        "",
        "What a task does when a node answers with an error. This page is rendered from",
        "`src/cachewright/valkey/replies.py` by `python -m cachewright.valkey.replies > docs/node-replies.md`.",
        "",
        "- **wait**: the state passes by itself. The task waits until the node answers. That uses up no attempt and no",
        "  time limit; the percent stands, the remaining seconds grow, and the task can be paused and cancelled. The",
        "  `detail` of the sub-step says `status:waiting for node <id>: <cause>`, and so does the log.",
        "- **retry**: the state passes only if somebody changes it. The sub-step is repeated, up to the attempts of",
        "  its action.",
        "- **look again**: as *retry*; the next attempt reads roles and owners of slots again.",
        "- **final**: repeating cannot help. The task fails, and its message contains the reply.",
        "",
        "For a node that does not answer at all, see [failure modes](failure-modes.md). While a script runs, a node",
        "answers nothing for `lua-time-limit` (at most 5 s) and then BUSY; the control plane waits longer than that",
        "for each answer.",
        "",
        "| reply | meaning | the node ... | why |",
        "|---|---|---|---|",
        *(f"| `{row.prefix}` | {row.meaning} | {row.cause} | {row.reason} |" for row in ERROR_REPLIES),
        f"| any other | {OTHER.meaning} | {OTHER.cause} | {OTHER.reason} |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201  # generates the page
