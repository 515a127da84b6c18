"""Matcher: which segments are scored, how severe a match is, and its evidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detectors.matching import Match, Matcher, SegmentActivations
from detectors.score import Window
from tests.feature_set_factory import make_set, make_summed, make_weighted


def segment(values: list[list[float]], name: str = "response", index: int = 0) -> SegmentActivations:
    return SegmentActivations(name, index, np.array(values, np.float32).reshape(-1, 2))


def match(matcher: Matcher, *segments: SegmentActivations) -> Match:
    found = matcher.match(segments)
    assert found is not None
    return found


def test_the_highest_segment_wins_and_the_first_of_equals() -> None:
    matcher = Matcher(make_set(segments=["user", "response"]))
    low, high, equal = segment([[2, 0]], "user"), segment([[6, 0]], "user", 1), segment([[6, 0]])
    assert match(matcher, low, high, equal).segment is high
    assert match(matcher, equal, high, low).segment is equal


def test_the_mean_is_taken_of_the_highest_of_each_name() -> None:
    # logits: bias -1, latents weighted 0.5 and -0.25
    matcher = Matcher(make_weighted(segments=["user", "response"], combine_segments="mean", threshold=0.1))
    asked_first, asked_last, reply = segment([[4, 0]], "user"), segment([[8, 0]], "user", 1), segment([[0, 8]])
    found = match(matcher, asked_first, asked_last, reply)
    assert found.score == pytest.approx(1 / (1 + math.exp(-(3.0 - 3.0) / 2)))
    assert found.segment is asked_last
    assert [hit.contribution for hit in found.hits] == [2.0], "half of the event's logit is the segment's"
    alone = matcher.best([reply])
    assert alone is not None
    assert alone[1].value == pytest.approx(1 / (1 + math.exp(3.0)))
    assert alone[1].contributions.tolist() == [0.0, -2.0]


def test_the_mean_of_ratios_and_of_sums() -> None:
    halves = segment([[1, 0]], "user"), segment([[5, 0]])
    ratios = Matcher(make_set(segments=["user", "response"], combine_segments="mean"))
    assert match(ratios, *halves).score == pytest.approx((0.5 + 2.5) / 2)
    assert ratios.match([segment([[1, 0]], "user"), segment([[2.9, 0]])]) is None
    weights = [
        {"index": 3, "label": "a", "label_score": 0.9, "weight": 2.0},
        {"index": 7, "label": "b", "label_score": 0.9, "weight": 1.0},
    ]
    sums = Matcher(make_summed(segments=["user", "response"], combine_segments="mean", features=weights))
    assert match(sums, *halves).score == pytest.approx((2 + 10) / 2)


def test_segments_of_other_names_are_not_scored() -> None:
    matcher = Matcher(make_set())  # only the response
    assert matcher.match([segment([[99, 99]], name) for name in ("system", "user", "assistant", "tool")]) is None
    assert matcher.match([]) is None
    assert match(matcher, segment([[99, 99]], "user"), segment([[2, 0]])).score == 1.0


def test_short_and_empty_segments_are_not_scored() -> None:
    matcher = Matcher(make_set(min_tokens=3))
    assert matcher.match([segment([[9, 9], [9, 9]]), segment([], index=1)]) is None
    assert match(matcher, segment([[9, 9], [9, 9], [9, 9]])).score == 4.5
    assert Matcher(make_set()).match([segment([])]) is None


def test_below_at_and_above_the_threshold() -> None:
    matcher = Matcher(make_set())
    assert matcher.match([segment([[1.999, 3.999]])]) is None
    assert match(matcher, segment([[0, 4]])).score == 1.0
    found = match(matcher, segment([[0, 5]]))
    assert (found.score, found.threshold, found.unit) == (1.25, 1.0, "activation/threshold")


@pytest.mark.parametrize(
    ("activation", "severity"),
    [(2, "medium"), (3.98, "medium"), (4, "high"), (7.9, "high"), (8, "critical"), (99, "critical")],
)
def test_escalations_hold_from_their_score_on(activation: float, severity: str) -> None:
    escalations: list[dict[str, Any]] = [{"score": 4, "severity": "critical"}, {"score": 2, "severity": "high"}]
    assert match(Matcher(make_set(escalations=escalations)), segment([[activation, 0]])).severity == severity


def test_hits_are_ordered_by_contribution_and_name_their_tokens() -> None:
    found = match(Matcher(make_set()), segment([[0, 8], [3, 4], [1, 0]]))
    assert [(h.index, h.activation, h.contribution, h.threshold) for h in found.hits] == [(7, 8, 2, 4), (3, 3, 1.5, 2)]
    assert found.hits[0].tokens == ((0, 8.0), (1, 4.0))
    assert found.hits[1].tokens == ((1, 3.0), (2, 1.0))


def test_features_that_speak_against_or_not_at_all_are_no_evidence() -> None:
    found = match(Matcher(make_weighted()), segment([[10, 4]]))
    assert [(h.index, h.contribution, h.weight) for h in found.hits] == [(3, 5, 0.5)]
    assert [h.index for h in match(Matcher(make_set()), segment([[2, 3.9]])).hits] == [3]


def test_evidence_is_bounded() -> None:
    found = match(Matcher(make_set(), top_features=1, top_tokens=2), segment([[5, 8], [4, 8], [3, 8], [9, 8]]))
    assert [h.index for h in found.hits] == [3]
    assert found.hits[0].tokens == ((3, 9.0), (0, 5.0))


def test_strength_is_weighted_as_the_score_is() -> None:
    found = match(Matcher(make_set()), segment([[0, 8], [3, 4], [0, 0]]))
    # contribution per unit of activation is 1 / threshold: 8/4 = 2, 3/2 + 4/4 = 2.5, 0
    np.testing.assert_allclose(found.strength, [0.8, 1.0, 0.0], rtol=1e-6)


def test_a_match_only_because_of_the_bias_has_no_evidence() -> None:
    found = match(Matcher(make_weighted(bias=3.0)), segment([[0, 0], [0, 4]]))
    assert found.hits == ()
    assert found.strength.tolist() == [0, 0]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(0, 1e4, width=32)),
    st.sampled_from([make_set(), make_set(condition={"kind": "k_of_n", "k": 2}), make_weighted(bias=1.0)]),
)
def test_strengths_lie_between_0_and_1(values: Any, feature_set: Any) -> None:
    found = Matcher(feature_set).match([SegmentActivations("response", 0, values)])
    if found is not None:
        assert found.strength.shape == (len(values),)
        assert ((found.strength >= 0) & (found.strength <= 1)).all()
        contributions = [h.contribution for h in found.hits]
        assert contributions == sorted(contributions, reverse=True)
        assert all(c > 0 for c in contributions)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("feature_set", [make_set(), make_weighted()], ids=["threshold", "weighted"])
def test_activations_that_are_no_numbers_are_an_error_and_no_match(feature_set: Any, value: float) -> None:
    with pytest.raises(ValueError, match="in response is not a finite number"):
        Matcher(feature_set).match([segment([[value, 0]])])
    assert Matcher(feature_set).match([segment([[value, 0]], "user")]) is None  # not looked at


def _unnamed() -> Matcher:
    features = [
        {"index": 3, "label": "a", "label_score": 0.7, "weight": 2.0},
        {"index": 7, "label": "b", "label_score": 0.69, "weight": 1.0},
    ]
    return Matcher(make_weighted(features=features))


def test_only_features_whose_label_holds_up_are_hits_and_all_others_are_one_sum() -> None:
    found = match(_unnamed(), segment([[3, 0], [0, 6], [1, 2]]))
    assert [(h.index, h.label_score, h.contribution, h.share) for h in found.hits] == [(3, 0.7, 6, 0.5)]
    assert found.unnamed is not None
    assert (found.unnamed.features, found.unnamed.contribution, found.unnamed.share) == (1, 6, 0.5)
    assert found.unnamed.tokens == ((1, 6.0), (2, 2.0))
    np.testing.assert_allclose(found.strength, [1, 1, 4 / 6], rtol=1e-6)


def test_features_without_a_score_are_unnamed_and_those_that_speak_against_are_not_in_the_sum() -> None:
    features = [{"index": 3, "label": "a", "weight": 2.0}, {"index": 7, "label": "b", "weight": -1.0}]
    matcher = Matcher(make_weighted(features=features), top_features=1)
    found = match(matcher, segment([[3, 1]]))
    assert found.hits == ()
    assert found.unnamed is not None
    assert (found.unnamed.features, found.unnamed.contribution, found.unnamed.share) == (1, 6, 1)
    assert match(_unnamed(), segment([[3, 0]])).unnamed is None


WINDOWS = {"kind": "mean", "window_tokens": 4, "window_penalty": 0.5}


def test_the_window_with_the_highest_score_decides_and_holds_all_evidence() -> None:
    matcher = Matcher(make_weighted(pooling=WINDOWS, threshold=0.5))
    quiet, loud = [1.0, 0.0], [6.0, 0.0]
    found = match(matcher, segment([quiet] * 4 + [loud] * 4 + [quiet]))
    assert found.window == Window(start=4, stop=8, of=4, penalty=0.5 * math.log(4))
    assert found.score == pytest.approx(1 / (1 + math.exp(1 - 0.5 * 6 + 0.5 * math.log(4))))
    assert [hit.activation for hit in found.hits] == [6.0]
    assert {row for hit in found.hits for row, _ in hit.tokens} == {4, 5, 6, 7}
    assert np.flatnonzero(found.strength).tolist() == [4, 5, 6, 7]


def test_a_segment_of_one_window_scores_as_without_windows() -> None:
    values = segment([[3, 1], [4, 1], [5, 9], [0, 0]])
    with_windows, without = (make_weighted(pooling=p, threshold=0.1) for p in (WINDOWS, {"kind": "mean"}))
    found = match(Matcher(with_windows), values)
    assert found.window is None
    assert found.score == match(Matcher(without), values).score


def test_sets_with_different_penalties_share_the_windows_of_a_segment() -> None:
    values = segment([[6.0, 0.0]] * 8)
    sums = [Matcher(make_summed(pooling={**WINDOWS, "window_penalty": p}, threshold=0.0)) for p in (0.0, 0.25)]
    free, charged = (match(matcher, values).score for matcher in sums)
    assert free - charged == pytest.approx(0.25 * math.log(3))
    assert len(values._pooled) == 1


def test_of_several_segments_each_loses_for_its_own_windows() -> None:
    used = make_weighted(pooling=WINDOWS, threshold=0.1, segments=["user", "response"], combine_segments="mean")
    found = match(Matcher(used), segment([[2, 0]], "user"), segment([[6, 0]] * 8))
    assert found.window is not None
    assert found.window.penalty == pytest.approx(0.5 * math.log(3) / 2), "half of the event's log-odds"
    assert found.score == pytest.approx(1 / (1 + math.exp(-(0.0 + 2.0 - 0.5 * math.log(3)) / 2)))
