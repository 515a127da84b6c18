"""A few thousand cases of what `make fuzz` runs by the million, and the records that it found faults with."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.event import Record
from monitor.events.parse import AUTO
from tests.fuzz.case import ORIGIN, Case, make_case
from tests.fuzz.chance import ByteChance
from tests.fuzz.check import judged
from tests.fuzz.found import FOUND
from tests.fuzz.words import media_in, said_in

_CASES = 4_000


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - variety, not secrecy


def test_cases_of_every_format_lose_nothing_that_was_said() -> None:
    outcomes = {seed: judged(make_case(_seeded(seed))) for seed in range(_CASES)}
    assert {seed: outcome.faults for seed, outcome in outcomes.items() if outcome.faults} == {}
    share = sum(outcome.refusal is None for outcome in outcomes.values()) / _CASES
    assert share > 0.6, "most cases are refused, so that little is shown"


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=64, max_size=600))
def test_bytes_that_decide_a_case_lose_nothing(data: bytes) -> None:
    assert list(judged(make_case(ByteChance(data))).faults) == []


@pytest.mark.parametrize("name", FOUND)
def test_what_was_once_lost_is_read(name: str) -> None:
    text = json.dumps(FOUND[name])
    assert "w0q" in text or "m0q" in text
    case = Case(
        Record(text.encode(), ORIGIN), AUTO, name, frozenset(said_in(text)), frozenset(media_in(text)), whole=True
    )
    outcome = judged(case)
    assert (outcome.refusal, list(outcome.faults)) == (None, [])


def test_the_check_sees_what_is_lost() -> None:
    """A word where nobody speaks is not read, which is how a fault would look."""
    body: dict[str, Any] = {"prompt": "w0q", "response": "w1q", "metadata": {"note": "w2q"}}
    case = Case(
        Record(json.dumps(body).encode(), ORIGIN), AUTO, "n", frozenset({"w0q", "w2q"}), frozenset(), whole=True
    )
    assert judged(case).faults == ["not read: w2q; counted as unread: nothing"]


def test_the_same_seed_makes_the_same_case() -> None:
    first, again = (make_case(_seeded(77)).record for _ in range(2))
    assert first == again
    assert make_case(ByteChance(b"abc" * 99)).record == make_case(ByteChance(b"abc" * 99)).record
