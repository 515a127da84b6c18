"""Engine: long events are read in parts, and what comes near a threshold is read again by an exact reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.alerts.abstention import Abstention
from monitor.alerts.allow import AllowList, Silenced
from monitor.alerts.event_attributes import ChosenAttributes
from monitor.alerts.policy import Policy, PolicySettings
from monitor.alerts.rules import RuleBook
from monitor.config.sections import FeatureSetsConfig
from monitor.engine import Engine, EngineSettings
from monitor.errors import BadEvent
from monitor.events.event import Event, Message
from monitor.readers.reader import Chunk
from monitor.readers.windows import WindowReader
from monitor.sets.load import LoadedSet
from monitor.tokens.chat_template import Segment
from monitor.tokens.language import LanguageOf
from monitor.tokens.tokeniser import Tokenised
from tests.alert_factory import make_event
from tests.feature_set_factory import make_set, make_summed


class CountingReader:
    """One feature: the token's own number."""

    max_tokens = None
    cached_tokens = 0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        self.calls.append(sum(chunk.tokens.size for chunk in chunks))
        return [chunk.tokens[:, None].astype(np.float32) for chunk in chunks]

    def prefill(self, tokens: NDArray[np.int32]) -> Any:
        raise AssertionError("there is no shared prefix")


class NumberTokeniser:
    """An event's id says how many tokens it has."""

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        return [_tokenised(event, int(event.id)) for event in events]


def _tokenised(event: Event, count: int) -> Tokenised:
    numbers = np.arange(count, dtype=np.int32)
    return Tokenised(event, numbers, numbers, numbers + 1, (), (), fallback=False)


def counting_engine(reader: CountingReader, settings: EngineSettings) -> Engine:
    windows = WindowReader(reader, window_tokens=100, overlap_tokens=0)
    policy = Policy([], [0], PolicySettings("0"))
    return Engine(policy=policy, tokeniser=cast(Any, NumberTokeniser()), reader=windows, settings=settings)


@pytest.mark.parametrize(("sizes", "parts"), [([10], 1), ([1_000], 10), ([10, 1_000, 10], 12), ([50, 50, 50], 2)])
def test_no_part_is_larger_than_a_group_and_each_is_told(sizes: list[int], parts: int) -> None:
    reader = CountingReader()
    engine = counting_engine(reader, EngineSettings(group_tokens=100))
    told: list[None] = []
    done = list(engine.evaluate([make_event(str(n)) for n in sizes], lambda: told.append(None)))
    assert [e.tokens for e in done] == sizes
    assert len(reader.calls) == len(told) == parts
    assert max(reader.calls) <= 100
    assert sum(reader.calls) == sum(sizes)


def test_an_event_of_too_many_tokens_is_refused_before_anything_is_read() -> None:
    reader = CountingReader()
    engine = counting_engine(reader, EngineSettings(max_tokens=99))
    assert len(list(engine.evaluate([make_event("99")]))) == 1
    reader.calls.clear()
    with pytest.raises(BadEvent, match=r"100 tokens, over events\.max_tokens = 99") as raised:
        list(engine.evaluate([make_event("5"), make_event("100")]))
    assert raised.value.kind == "size"
    assert reader.calls == []


def test_a_long_event_keeps_the_order_of_its_tokens() -> None:
    reader = CountingReader()
    windows_of = WindowReader(reader, window_tokens=64, overlap_tokens=16)
    ((values, windows),) = windows_of.read([_tokenised(make_event(), 1_000).ids], 1, part_tokens=100)
    assert values[:, 0].tolist() == list(range(1_000))
    assert windows > 10


class Scorer(CountingReader):
    """One feature: the token's own number over 100, off by `error`."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        self.error = error

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        return [values / np.float32(100) + np.float32(self.error) for values in super().read(chunks)]


class ScoreTokeniser:
    """An event's id is the activation of its response, which is one token behind another; "none" has no response."""

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        return [self._one(event) for event in events]

    def _one(self, event: Event) -> Tokenised:
        if event.id == "none":
            return _tokenised(event, 2)
        ids = np.array([0, round(100 * float(event.id))], np.int32)
        at = np.arange(2, dtype=np.int32)
        segments = (Segment("response", 0, "ab", 0, 2, 0),)
        return Tokenised(event, ids, at, at + 1, segments, (np.array([1]),), fallback=False)


def loaded_set(name: str, threshold: float, **changes: Any) -> LoadedSet:
    feature = {"index": 3, "label": "the number", "label_score": 0.9, "threshold": threshold}
    made = make_set(id=name, features=[feature], **changes)
    return LoadedSet(Path(f"{name}.yaml"), "a" * 64, made, made, listed=(3,))


def confirming(error: float, margins: dict[str, float], *sets: LoadedSet) -> tuple[Engine, Scorer, Scorer]:
    """An engine whose first reader is off by `error`; that reader, and the exact one."""
    fast, exact = Scorer(error), Scorer()
    return scoring_engine(fast, *sets, exact=exact, margins=margins), fast, exact


def scoring_engine(
    reader: Scorer,
    *sets: LoadedSet,
    exact: Scorer | None = None,
    margins: dict[str, float] | None = None,
    rules: Sequence[dict[str, Any]] = (),
    allow: Sequence[dict[str, Any]] = (),
    attributes: Sequence[str] = (),
    languages: LanguageOf | None = None,
) -> Engine:
    used = sets or (loaded_set("one", 2.0),)
    config = FeatureSetsConfig.model_validate({"rules": rules, "allow": allow})
    book = RuleBook(config, [loaded.set.id for loaded in used])
    return Engine(
        policy=Policy(
            used,
            [3],
            PolicySettings("0", ChosenAttributes(attributes)),
            margins,
            book,
            AllowList(config.allow),
            languages,
        ),
        tokeniser=cast(Any, ScoreTokeniser()),
        reader=WindowReader(reader, window_tokens=100, overlap_tokens=0),
        exact=None if exact is None else WindowReader(exact, window_tokens=100, overlap_tokens=0),
    )


@pytest.mark.parametrize(
    ("truth", "error", "again", "alert"),
    [
        (1.0, 0.0, False, False),  # far below, in ratios to the threshold of 2
        (1.0, 0.7, True, False),  # seems near
        (1.59, 0.0, False, False),  # just outside the margin
        (1.61, 0.0, True, False),  # just inside
        (1.0, 1.5, True, False),  # seems to be above
        (2.1, -0.3, True, True),  # seems to be below, within the margin
        (2.1, -0.6, False, False),  # errors beyond the margin are missed
        (2.1, 0.0, True, True),
        (2.0, 0.0, True, True),
        (9.0, 0.0, True, True),
    ],
)
def test_near_a_threshold_the_exact_reader_decides(truth: float, error: float, again: bool, alert: bool) -> None:
    engine, fast, exact = confirming(error, {"one": 0.2})
    (evaluation,) = engine.evaluate([make_event(str(truth))])
    assert fast.calls == [2]
    assert (exact.calls == [2]) == again
    assert evaluation.confirmed == again
    assert len(evaluation.alerts) == alert
    for found in evaluation.alerts:  # what stands in it is exact as well
        assert found.score == pytest.approx(truth / 2)
        assert found.features[0].activation == pytest.approx(truth)
        assert found.features[0].tokens[0].activation == pytest.approx(truth)


def test_each_event_of_a_group_gets_its_own_exact_activations() -> None:
    engine, fast, exact = confirming(0.05, {"one": 0.1})
    truths = ["1.0", "2.5", "1.9", "none", "0.1", "2.0", "3.5"]
    evaluations = list(engine.evaluate([make_event(t) for t in truths]))
    assert [e.event.id for e in evaluations] == truths
    assert [e.confirmed for e in evaluations] == [False, True, True, False, False, True, True]
    scores = {e.event.id: e.alerts[0].score for e in evaluations if e.alerts}
    assert scores == {t: pytest.approx(float(t) / 2) for t in ("2.5", "2.0", "3.5")}
    assert (sum(fast.calls), sum(exact.calls)) == (14, 8)


def test_one_set_that_is_near_is_enough_and_margins_are_each_sets_own() -> None:
    sets = loaded_set("high", 9.0), loaded_set("low", 2.0)
    engine, _, exact = confirming(0.0, {"high": 0.0, "low": 0.3}, *sets)
    near_low, near_high, neither = engine.evaluate([make_event(t) for t in ("1.5", "8.9", "1.3")])
    assert (near_low.confirmed, near_low.alerts) == (True, ())
    assert [a.set.id for a in near_high.alerts] == ["low"]
    assert not neither.confirmed
    assert sum(exact.calls) == 4


def test_of_a_set_that_nothing_was_measured_of_everything_is_read_again() -> None:
    engine, _, exact = confirming(0.0, {"another": 0.1})
    evaluations = list(engine.evaluate([make_event(t) for t in ("0.01", "none", "5.0")]))
    assert [e.confirmed for e in evaluations] == [True, False, True]  # "none" has nothing that the set looks at
    assert [len(e.alerts) for e in evaluations] == [0, 0, 1]
    assert sum(exact.calls) == 4


def test_every_event_has_its_scores_whichever_reader_decides() -> None:
    sets = loaded_set("high", 9.0), loaded_set("low", 2.0)
    engine, _, _ = confirming(0.05, {"high": 0.1, "low": 0.1}, *sets)
    found = [{s.set_id: s for s in e.scores} for e in engine.evaluate([make_event(t) for t in ("1.0", "2.0", "none")])]
    assert [score.score for score in found[0].values()] == [pytest.approx(1.05 / 9), pytest.approx(1.05 / 2)]
    assert [score.score for score in found[1].values()] == [pytest.approx(2 / 9), pytest.approx(1)]  # read again
    assert found[2] == {}
    assert found[1]["low"].active == (3,)
    assert found[1]["low"].category == "unsafe_code"


def test_named_features_are_active_if_they_contribute_and_others_are_not_told() -> None:
    (silent,) = scoring_engine(Scorer()).evaluate([make_event("0.0")])
    assert [score.active for score in silent.scores] == [()]
    unnamed = replace(loaded_set("one", 2.0), listed=())
    (evaluation,) = scoring_engine(Scorer(), unnamed).evaluate([make_event("5.0")])
    assert [score.active for score in evaluation.scores] == [()]


def test_an_event_says_how_long_it_was_read_and_which_attributes_were_chosen() -> None:
    engine = scoring_engine(Scorer(), attributes=["tenant"])
    (evaluation,) = engine.evaluate([make_event("5.0", attributes={"tenant": "bank", "user": "u"})])
    assert 0 < evaluation.read_seconds <= evaluation.seconds
    assert evaluation.attributes == {"tenant": "bank"}
    assert [alert.event.attributes for alert in evaluation.alerts] == [{"tenant": "bank"}]


def test_scores_are_only_those_of_the_first_reader() -> None:
    """Precisions are compared by them."""
    engine, _, exact = confirming(0.5, {"one": 9.0})
    found = [scores["one"] for scores in engine.scores([make_event("2.0"), make_event("none")])]
    assert found[0] is not None
    assert found[0].value == pytest.approx(2.5 / 2)
    assert found[1] is None
    assert exact.calls == []


def test_without_confirmation_nothing_is_read_again() -> None:
    (evaluation,) = scoring_engine(Scorer(0.5)).evaluate([make_event("1.8")])
    assert not evaluation.confirmed
    assert evaluation.alerts[0].score == pytest.approx(2.3 / 2)


# ---- rules


def summing_set(threshold: float) -> LoadedSet:
    """Its score is the number itself, so that a rule may change its threshold."""
    made = make_summed(
        id="one", threshold=threshold, features=[{"index": 3, "label": "the number", "label_score": 0.9, "weight": 1.0}]
    )
    return LoadedSet(Path("one.yaml"), "a" * 64, made, made)


def ruled(name: str, model: str, **change: Any) -> dict[str, Any]:
    return {"name": name, "when": {"model": model}, "sets": {"one": change}}


@pytest.mark.parametrize(
    ("model", "truth", "again", "threshold"),
    [
        ("plain", 2.0, False, None),  # far below the set's own threshold of 4
        ("plain", 3.9, True, None),
        ("plain", 4.1, True, 4.0),
        ("low", 1.8, False, None),
        ("low", 1.95, True, None),  # near the threshold that counts
        ("low", 2.1, True, 2.0),
        ("low", 3.9, True, 2.0),
        ("high", 4.1, False, None),
        ("high", 8.1, True, 8.0),
        ("off", 9.0, False, None),
    ],
)
def test_the_exact_reader_is_asked_near_the_threshold_that_counts_for_the_event(
    model: str, truth: float, again: bool, threshold: float | None
) -> None:
    rules = [ruled("l", "low", threshold=2.0), ruled("h", "high", threshold=8.0), ruled("o", "off", enabled=False)]
    exact = Scorer()
    engine = scoring_engine(Scorer(0.05), summing_set(4.0), exact=exact, margins={"one": 0.1}, rules=rules)
    (evaluation,) = engine.evaluate([make_event(str(truth), model=model)])
    assert evaluation.confirmed == again
    assert (exact.calls == [2]) == again
    assert [a.threshold for a in evaluation.alerts] == ([] if threshold is None else [threshold])


def test_an_alert_says_which_rule_counted_and_what_it_made_of_the_set() -> None:
    engine = scoring_engine(Scorer(), summing_set(1.0), rules=[ruled("quiet", "gpt-*", severity="info", threshold=1.5)])
    (found, plain) = engine.evaluate([make_event("2.0", model="gpt-x"), make_event("2.1", model="llama")])
    (alert,) = found.alerts
    assert (alert.rules, alert.threshold, alert.severity) == (("quiet",), 1.5, "info")
    assert alert.message.endswith(" in response (the number); threshold 1.5, severity info, by rule quiet")
    (alert,) = plain.alerts
    assert (alert.rules, alert.threshold, alert.severity) == ((), 1.0, "medium")
    assert "rule" not in alert.message


def test_what_is_sampled_out_is_not_read_and_keeps_its_place() -> None:
    reader = Scorer()
    engine = scoring_engine(reader, rules=[{"name": "few", "when": {"model": "loud"}, "sampling": 0.3}])
    events = [make_event(f"2.{n}", model="loud" if n % 2 else "calm") for n in range(20)]
    done = list(engine.evaluate(events))
    assert [e.event for e in done] == events
    skipped = [e for e in done if e.sampled_out]
    assert {(e.sampled_out, e.tokens, e.alerts) for e in skipped} == {("few", 0, ())}
    assert 0 < len(skipped) < 10
    assert all(e.event.model == "loud" for e in skipped)
    assert all(e.alerts for e in done if not e.sampled_out)
    assert sum(reader.calls) == 2 * (20 - len(skipped))
    reader.calls.clear()
    assert all(e.sampled_out for e in engine.evaluate([e.event for e in skipped]))
    assert reader.calls == []


# ---- allow-list


def test_a_known_system_prompt_silences_an_alert_and_says_so() -> None:
    known = {"name": "tutor", "system_pattern": "You are a security tutor*", "sets": ["one"]}
    reader = Scorer()
    engine = scoring_engine(reader, loaded_set("one", 2.0), loaded_set("two", 2.0), allow=[known])
    tutor = (Message("system", "You are a security tutor."),)
    silent, below, loud = engine.evaluate(
        [make_event("2.5", messages=tutor), make_event("1.5", messages=tutor), make_event("2.6")]
    )
    assert (silent.silenced, [a.set.id for a in silent.alerts]) == ((Silenced("one", "tutor"),), ["two"])
    assert (below.silenced, below.alerts) == ((), ())  # what does not alert is not silenced
    assert (loud.silenced, [a.set.id for a in loud.alerts]) == ((), ["one", "two"])
    assert sum(reader.calls) == 6  # a silenced event is read


class Spoken:
    """Says that every text is in one language, and how many it was asked about."""

    def __init__(self, language: str | None) -> None:
        self._language = language
        self.asked = 0

    def language_of(self, text: str) -> str | None:
        self.asked += 1
        return self._language


@pytest.mark.parametrize("precision", ["exact", "confirmed"])
def test_a_set_for_other_languages_makes_no_score(precision: str) -> None:
    english, every = loaded_set("english", 2.0, languages=["en"]), loaded_set("every", 2.0)
    exact = None if precision == "exact" else Scorer()
    engine = scoring_engine(Scorer(), english, every, exact=exact, margins={"every": 0.2}, languages=Spoken("fr"))
    loud, quiet = engine.evaluate([make_event("3.0"), make_event("0.5")])
    for evaluation in (loud, quiet):  # `english` has no margin, but what it doesn't score isn't read again for it
        assert evaluation.abstentions == (Abstention("english", "fr"),)
        assert [score.set_id for score in evaluation.scores] == ["every"]
    assert [alert.set.id for alert in loud.alerts] == ["every"]
    assert not quiet.confirmed
    (scores,) = engine.scores([make_event("3.0")])
    assert scores["english"] is not None, "the lab measures what a set would score"


@pytest.mark.parametrize("language", ["en", None])
def test_a_set_scores_its_own_languages_and_unknown_ones(language: str | None) -> None:
    engine = scoring_engine(Scorer(), loaded_set("english", 2.0, languages=["en"]), languages=Spoken(language))
    (evaluation,) = engine.evaluate([make_event("3.0")])
    assert (len(evaluation.alerts), evaluation.abstentions) == (1, ())


def test_languages_are_told_only_if_a_set_asks() -> None:
    spoken = Spoken("fr")
    engine = scoring_engine(
        Scorer(),
        loaded_set("every", 2.0),
        loaded_set("asks", 2.0, languages=["en"], segments=["user"]),
        languages=spoken,
    )
    (evaluation,) = engine.evaluate([make_event("3.0")])
    assert (spoken.asked, evaluation.abstentions) == (0, ())
