"""RedactConfig: what is taken out of text before an alert carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, field_validator

from monitor.config.rules import Name
from monitor.config.section import Section

BuiltIn = Literal["cloud_key", "token", "private_key", "card", "iban", "email", "phone"]
BUILT_IN: tuple[BuiltIn, ...] = get_args(BuiltIn)

_MAX_MEMORY_BYTES = 1 << 20
"""RE2 refuses a pattern whose program is larger, and matches more slowly rather than with more."""


def linear_regex(pattern: str) -> Any:
    """The pattern as RE2 compiled it: its time grows with the length of the text alone, whatever the two are.

    Raises ValueError if RE2 is not installed or does not take the pattern.
    """
    try:
        import re2
    except ModuleNotFoundError:
        raise ValueError("own patterns need RE2; run: pip install 'latentwatch[redact]'") from None
    options = re2.Options()
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as e:
        reason = e.args[0] if e.args else e
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"RE2 does not take it: {text}") from None


def _checked(pattern: str) -> str:
    if linear_regex(pattern).search("") is not None:
        raise ValueError("it matches empty text; it has to match what is taken out, and nothing else")
    return pattern


class OwnPattern(Section):
    """One more kind of text that is taken out."""

    name: Name
    """What stands in its place."""
    regex: Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_checked)]
    """Regular expression in RE2's syntax, which has no look-around and no back-references."""


class RedactConfig(Section):
    """What is taken out of text before an alert carries it, if `alerts.capture_content` is true."""

    patterns: tuple[BuiltIn, ...] = BUILT_IN
    """Kinds that are built in; an empty list takes out none of them."""
    own: Annotated[tuple[OwnPattern, ...], Field(max_length=100)] = ()
    """Your own kinds, each with a name and a regular expression."""
    presidio: bool = False
    """Whether Microsoft Presidio looks for further kinds, such as bank accounts; needs the extra presidio."""

    @field_validator("own")
    @classmethod
    def _different_names(cls, own: Sequence[OwnPattern]) -> Sequence[OwnPattern]:
        names = [*BUILT_IN, *(pattern.name for pattern in own)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice}: this name is taken; give each pattern its own")
        return own
