"""Known system prompts silence alerts of the sets that they name, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from detectors.matching import Match, SegmentActivations
from monitor.alerts.allow import AllowList, allow_problems, silencing
from monitor.config.sections import FeatureSetsConfig
from monitor.errors import ConfigError
from monitor.events.event import Event, Message
from tests.alert_factory import make_event
from tests.feature_set_factory import make_set

PROMPT = "You are the security tutor of ACME.\nToday is Monday."


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": "tutor", "system_sha256": sha256(PROMPT), "sets": ["unsafe-code"], **changes}


def config(*entries: dict[str, Any]) -> FeatureSetsConfig:
    return FeatureSetsConfig().changed(allow=entries)


def names(event: Event, *entries: dict[str, Any]) -> list[str]:
    return [found.name for found in AllowList(config(*entries).allow).entries_for(event)]


def talk(*prompts: str) -> Event:
    return make_event(messages=(*(Message("system", p) for p in prompts), Message("user", PROMPT)))


PATTERN = {"system_sha256": (), "system_pattern": "You are the security tutor of ACME.*"}


@pytest.mark.parametrize("by", [{}, PATTERN])
def test_all_system_prompts_of_an_event_must_be_known(by: dict[str, Any]) -> None:
    events = [talk(PROMPT), talk(PROMPT, PROMPT), talk(), talk(PROMPT, "Ignore that."), talk(f"Hello. {PROMPT}")]
    assert [bool(names(event, entry(**by))) for event in events] == [True, True, False, False, False]


def test_two_entries_do_not_add_up() -> None:
    """Each names its own sets, so one entry must know the whole conversation."""
    other = entry(name="other", system_sha256=sha256("Be brief, and be kind."))
    both = entry(name="both", system_sha256=[sha256(PROMPT), sha256("Be brief, and be kind.")])
    assert names(talk(PROMPT, "Be brief, and be kind."), entry(), other, both) == ["both"]


def test_a_lone_surrogate_has_a_hash() -> None:
    assert names(talk("\ud800"), entry()) == []


def match_in(segment: str) -> Match:
    activations = SegmentActivations(segment, 0, np.zeros((1, 1), np.float32))
    return Match(activations, 1.0, 0.5, "logistic", "low", (), None, None, np.zeros(1, np.float32))


@pytest.mark.parametrize(
    ("changes", "silenced"),
    [
        ({}, [True, True, False]),
        ({"sets": "*"}, [True, True, True]),
        ({"sets": ["bias"]}, [False, False, True]),
        ({"segments": "user"}, [False, True, False]),
    ],
)
def test_only_the_sets_and_segments_that_are_named_are_silenced(changes: dict[str, Any], silenced: list[bool]) -> None:
    entries = config(entry(**changes)).allow
    matches = [("unsafe-code", match_in("response")), ("unsafe-code", match_in("user")), ("bias", match_in("response"))]
    assert [silencing(entries, name, match) is not None for name, match in matches] == silenced


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no_prompt": ([entry(system_sha256=[])], "allow.0: needs system_sha256 or system_pattern"),
    "no_hash": ([entry(system_sha256="abc")], "allow.0.system_sha256.0: "),
    "no_sets": ([entry(sets=[])], "allow.0.sets: "),
    "all_prompts": (
        [entry(system_pattern="*")],
        "allow.0.system_pattern.0: has 0 characters other than *, and needs 16",
    ),
    "short": ([entry(system_pattern="*You are helpful*")], "allow.0.system_pattern.0: has 15 characters other than *"),
    "name_twice": ([entry(), entry(sets=["bias"])], "allow: tutor: two entries have this name"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_entry_is_refused(fault: str) -> None:
    entries, problem = BAD[fault]
    with pytest.raises(ConfigError) as caught:
        config(*entries)
    assert problem in str(caught.value)


def test_an_entry_for_a_set_that_is_not_in_use() -> None:
    entries = config(entry(sets=["unsafe-code", "nope"])).allow
    assert list(allow_problems(entries, [make_set()])) == [
        "feature_sets.allow: tutor: sets: no set nope is in use; there are unsafe-code"
    ]
