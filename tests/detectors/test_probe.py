"""Probe sets: the score, the evidence, and what a set must contain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from detectors.feature_set import FeatureSet
from detectors.matching import Matcher, SegmentActivations
from detectors.probe import ProbeDetector
from tests.feature_set_factory import PROBE, make_probe, make_weighted, probe_data, set_data, weighted_data


def segment(values: list[list[float]]) -> SegmentActivations:
    """Columns: latent 3, latent 7, probe."""
    return SegmentActivations("response", 0, np.array(values, np.float32))


def test_the_projection_is_added_to_the_logit() -> None:
    score = ProbeDetector(make_probe()).score(np.array([4, 2, 0.75], np.float32))
    assert score.value == pytest.approx(1 / (1 + math.exp(-(-1.0 + 0.75 + 4 * 0.5 - 2 * 0.25))))
    assert score.probe == 0.75
    assert score.contributions.tolist() == [2.0, -0.5]
    assert score.pooled.tolist() == [4.0, 2.0]


def test_without_evidence_of_the_probe_it_is_the_weighted_detector() -> None:
    values = [[4.0, 2.0], [0.0, 6.0], [3.0, 1.0]]
    weighted = Matcher(make_weighted(bias=1.0)).best([segment(values)])
    probe = Matcher(make_probe(bias=1.0)).best([segment([[*row, 0.0] for row in values])])
    assert weighted is not None
    assert probe is not None
    assert probe[1].value == weighted[1].value


def test_the_match_names_the_tokens_that_speak_for_the_probe() -> None:
    pooling = {"kind": "mean", "prior_tokens": 0}
    matcher = Matcher(make_probe(bias=0.0, pooling=pooling), top_tokens=2)
    found = matcher.match([segment([[0, 0, 1], [0, 0, -2], [2, 0, 4], [0, 0, 3]])])
    assert found is not None
    assert found.probe is not None
    assert found.probe.contribution == pytest.approx(1.5)
    assert found.probe.tokens == ((2, 4.0), (3, 3.0))
    assert [(hit.index, hit.contribution) for hit in found.hits] == [(3, 0.25)]
    # evidence by token: 1, none, 4 and 0.5 * 2 of latent 3, 3
    np.testing.assert_allclose(found.strength, [0.2, 0, 1, 0.6], rtol=1e-6)


def test_sets_without_a_probe_have_no_such_evidence() -> None:
    found = Matcher(make_weighted(bias=3.0)).match([SegmentActivations("response", 0, np.ones((2, 2), np.float32))])
    assert found is not None
    assert found.probe is None


def test_columns_may_stand_anywhere() -> None:
    in_order = Matcher(make_probe(bias=1.0)).best([segment([[4, 2, 0.75]])])
    elsewhere = Matcher(make_probe(bias=1.0), columns=np.array([2, 0, 3]))
    values = np.array([[2, 99, 4, 0.75]], np.float32)
    found = elsewhere.best([SegmentActivations("response", 0, values)])
    assert in_order is not None
    assert found is not None
    assert found[1].value == in_order[1].value


def test_its_columns_are_latents_and_the_probes_hash() -> None:
    assert make_probe().columns() == (3, 7, PROBE)
    assert make_weighted().columns() == (3, 7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_projection_that_is_no_number_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        Matcher(make_probe()).match([segment([[1, 1, value]])])


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (weighted_data(probe=PROBE), "a probe detector needs a probe in `weights`, and no other may have one"),
        (set_data(probe=PROBE), "no other may have one"),
        (probe_data(probe=None), "a probe detector needs a probe"),
        (probe_data(threshold=None, condition={"kind": "any"}), "a probe detector has a score; use threshold"),
        (probe_data(features=[{"index": 3, "label": "x"}]), "index 3 needs a weight"),
        (probe_data(probe="12"), "String should match pattern"),
    ],
)
def test_every_rule(data: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        FeatureSet.model_validate(data)


def test_the_probes_share_is_its_own() -> None:
    matcher = Matcher(make_probe(threshold=0.1))
    raised = matcher.match([SegmentActivations("response", 0, np.array([[4, 0, 2]], np.float32))])
    assert raised is not None
    assert raised.probe is not None
    assert (raised.hits[0].share, raised.probe.share, raised.unnamed) == (0.5, 0.5, None)
    lowered = matcher.match([SegmentActivations("response", 0, np.array([[8, 0, -1]], np.float32))])
    assert lowered is not None
    assert lowered.probe is not None
    assert (lowered.probe.contribution, lowered.probe.share, lowered.hits[0].share) == (-1, 0, 1)
