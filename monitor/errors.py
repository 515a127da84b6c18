"""Every error that latentwatch raises on purpose.

LatentwatchError
├── ConfigError      start-up stops; carries every problem found, each with file and key
├── BadEvent         one event cannot be used; it is dead-lettered and counted
├── Retryable        the outside world is not ready; back off and try again, commit nothing
├── Rewound          nothing of this batch is committed; the source hands all of it out again
└── Permanent        trying again cannot help; the command stops with a message
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal


class LatentwatchError(Exception):
    """Base of all errors raised on purpose; its text may be shown to a user."""


class ConfigError(LatentwatchError):
    """The configuration, a feature set or an artefact cannot be used.

    `problems` has one line for each problem: where (file, key), which rule was broken, what to do.
    """

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


BadEventKind = Literal["size", "encoding", "json", "schema", "unreadable"]


class BadEvent(LatentwatchError):
    """A record that is not a valid event. `path` is the JSON path of the fault ("$" for the whole record).

    `kind` is one of a few words, because it becomes a metric's label: over a size limit, not text, not JSON, not an
    event, or an event that the reader failed on.
    """

    def __init__(self, reason: str, path: str = "$", kind: BadEventKind = "schema") -> None:
        self.reason = reason
        self.path = path
        self.kind = kind
        super().__init__(f"{path}: {reason}")


RefusalKind = Literal[
    "full", "invalid", "too_large", "unsupported", "unauthorized", "stopping", "timeout", "connections"
]
"""Why the HTTP intake refuses a request or, with all connections in use, a connection."""
RetryableKind = Literal["broker_down", "topic_missing", "topic_unauthorized", "group_unauthorized", "other"]


class Retryable(LatentwatchError):
    """A failure that may pass. `retry_after_s` is the least time to wait, in seconds.

    `kind` is one of a few words fit for a metric's label.
    """

    def __init__(self, reason: str, retry_after_s: float = 1.0, kind: RetryableKind = "other") -> None:
        self.retry_after_s = retry_after_s
        self.kind = kind
        super().__init__(reason)


class Rewound(LatentwatchError):
    """A transaction was not committed, and the source hands out again all that was in it."""


class Permanent(LatentwatchError):
    """A failure that stays until someone changes something."""
