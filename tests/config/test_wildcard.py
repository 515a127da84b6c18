"""`*` stands for any text, and matching is never slow."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config.wildcard import Wildcard, Wildcards

_PIECES = st.text(alphabet="ab*", max_size=8)
_TEXTS = st.text(alphabet="ab", max_size=10)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("gpt-*", "gpt-4o", True),
        ("gpt-*", "GPT-4o", False),
        ("*mini*", "gpt-4o-mini-2025", True),
        ("a*a", "a", False),  # the star comes between two letters
        ("*", "", True),
        ("what? [yes]", "what? [yes]", True),
        ("what?", "whats", False),  # nothing but * is special
        ("a*b", "a\nb", True),
    ],
)
def test_only_the_star_is_special(pattern: str, text: str, matches: bool) -> None:
    assert Wildcard(pattern).matches(text) == matches


@given(pattern=_PIECES, text=_TEXTS)
def test_it_matches_what_a_shell_pattern_matches(pattern: str, text: str) -> None:
    assert Wildcard(pattern).matches(text) == bool(re.match(fnmatch.translate(pattern), text))


@given(mine=_PIECES, theirs=_PIECES, text=_TEXTS)
def test_what_is_covered_matches(mine: str, theirs: str, text: str) -> None:
    if Wildcards.of([mine]).covers(Wildcards.of([theirs])) and Wildcard(theirs).matches(text):
        assert Wildcard(mine).matches(text)


def test_many_stars_in_a_long_text() -> None:
    """A backtracking matcher would not come back in a lifetime."""
    assert not Wildcard("a*" * 100 + "b").matches("a" * 400_000)


def test_one_of_several_must_match() -> None:
    several = Wildcards.of(["one", "two-*"])
    assert [several.matches(text) for text in ("one", "two-b", "one-b", "two")] == [True, True, False, False]
    assert several.covers(Wildcards.of(["two-*", "two-c"]))
    assert not several.covers(Wildcards.of(["one", "three"]))
