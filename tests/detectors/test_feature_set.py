"""FeatureSet: every rule has a set that breaks it, named by its fault; and the user's overrides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from detectors.feature_set import FeatureSet, SetOverride, overridden
from detectors.metrics import summarised
from tests.feature_set_factory import make_set, make_summed, make_weighted, set_data, summed_data, weighted_data

READER = set_data()["reader"]
METRICS: dict[str, dict[str, Any]] = {
    "a": {"auroc": 0.7, "n_positive": 9, "n_negative": 9, "held_out": True, "dense_probe_auroc": 0.6},
    "b": {"auroc": 0.8, "n_positive": 9, "n_negative": 9, "held_out": True},
    "own_c": {"auroc": 0.9, "n_positive": 9, "n_negative": 9, "held_out": True, "word_only_auroc": 0.5},
    "fitted_on": {"auroc": 1.0, "n_positive": 9, "n_negative": 9, "held_out": False},
    "no_negatives": {"auroc": None, "n_positive": 9, "n_negative": 0, "held_out": True},
}
SUMMARY = {
    "auroc_by_others": [0.7, 0.8], "auroc_own": [0.9, 0.9], "dense_probe_by_others": [0.6, 0.6],
    "dense_probe_own": None, "word_only_by_others": None, "word_only_own": [0.5, 0.5],
}  # fmt: skip
FEATURE = {"index": 3, "label": "x", "threshold": 2.0}

# fault: (the set, where, the rule)
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown_key": (set_data(tresholds=1), "tresholds", "Extra inputs"),
    "id_with_spaces": (set_data(id="Unsafe code"), "id", "match pattern"),
    "id_with_line_break": (set_data(id="unsafe\n"), "id", "match pattern"),
    "version_not_semantic": (set_data(version="1.0"), "version", "match pattern"),
    "version_as_number": (set_data(version=1.0), "version", "valid string"),
    "category_with_dash": (set_data(category="unsafe-code"), "category", "match pattern"),
    "unknown_severity": (set_data(severity="urgent"), "severity", "'info', 'low', 'medium', 'high' or 'critical'"),
    "unknown_status": (set_data(status="new"), "status", "'experimental', 'test' or 'stable'"),
    "detector_not_a_name": (set_data(detector="by vibes"), "detector", "should match pattern"),
    "no_segments": (set_data(segments=[]), "segments", "at least one item"),
    "unknown_segment": (set_data(segments=["reply"]), "segments.0", "'system', 'user'"),
    "no_features": (set_data(features=[]), "features", "at least one item"),
    "negative_index": (set_data(features=[{**FEATURE, "index": -1}]), "features.0.index", "greater than or equal to 0"),
    "empty_label": (set_data(features=[{**FEATURE, "label": ""}]), "features.0.label", "at least 1 character"),
    "threshold_not_finite": (
        set_data(features=[{**FEATURE, "threshold": float("inf")}]),
        "features.0.threshold",
        "finite number",
    ),
    "threshold_zero": (set_data(features=[{**FEATURE, "threshold": 0.0}]), "", "index 3 needs a threshold above 0"),
    "threshold_negative": (set_data(features=[{**FEATURE, "threshold": -1}]), "", "index 3 needs a threshold above 0"),
    "index_listed_twice": (set_data(features=[FEATURE, FEATURE]), "", "index 3 is listed twice"),
    "index_outside_the_sae": (
        set_data(features=[{**FEATURE, "index": 16}]),
        "",
        "index 16 is outside the SAE's width 16",
    ),
    "threshold_missing": (
        set_data(features=[{"index": 3, "label": "x"}]),
        "",
        "index 3 needs a threshold under condition any",
    ),
    "weight_missing_under_score": (
        summed_data(features=[FEATURE]),
        "",
        "index 3 needs a weight, because the set has no condition",
    ),
    "weight_missing_in_weighted": (
        weighted_data(features=[FEATURE]),
        "",
        "index 3 needs a weight, because the set has no condition",
    ),
    "weighted_without_score": (
        weighted_data(threshold=None, condition={"kind": "any"}),
        "",
        "a weighted detector has a score; use threshold",
    ),
    "threshold_and_condition": (set_data(threshold=1.0), "", "threshold: not allowed with `condition`"),
    "neither_threshold_nor_condition": (weighted_data(threshold=None), "", "threshold: needed"),
    "set_threshold_not_finite": (weighted_data(threshold=float("nan")), "threshold", "finite number"),
    "score_as_condition": (set_data(condition={"kind": "score"}), "condition.kind", "'any' or 'k_of_n'"),
    "unknown_way_to_combine": (set_data(combine_segments="highest"), "combine_segments", "'max' or 'mean'"),
    "k_over_n": (set_data(condition={"kind": "k_of_n", "k": 3}), "", "k = 3 of 2 features can never hold"),
    "k_missing": (set_data(condition={"kind": "k_of_n"}), "condition", "k is required for k_of_n"),
    "k_zero": (set_data(condition={"kind": "k_of_n", "k": 0}), "condition.k", "greater than 0"),
    "k_under_any": (set_data(condition={"kind": "any", "k": 1}), "condition", "k is required for k_of_n"),
    "pooling_k_missing": (set_data(pooling={"kind": "topk_mean"}), "pooling", "k is required for topk_mean"),
    "pooling_k_under_max": (set_data(pooling={"kind": "max", "k": 2}), "pooling", "k is required for topk_mean"),
    "pooling_above_missing": (set_data(pooling={"kind": "count"}), "pooling", "above is required for count"),
    "pooling_above_under_mean": (
        set_data(pooling={"kind": "mean", "above": 1}),
        "pooling",
        "above is required for count",
    ),
    "windows_of_max": (set_data(pooling={"kind": "max", "window_tokens": 8}), "pooling", "only allowed for mean"),
    "window_odd": (set_data(pooling={"kind": "mean", "window_tokens": 7}), "pooling.window_tokens", "multiple of 2"),
    "penalty_without_windows": (
        set_data(pooling={"kind": "mean", "window_penalty": 1}),
        "pooling",
        "window_penalty is only allowed with window_tokens",
    ),
    "min_tokens_zero": (set_data(min_tokens=0), "min_tokens", "greater than 0"),
    "unknown_escalation": (set_data(escalations=[{"score": 1, "severity": "max"}]), "escalations.0.severity", "'info'"),
    "model_hash_short": (set_data(reader={**READER, "model_sha256": "abc"}), "reader.model_sha256", "match pattern"),
    "model_hash_upper_case": (
        set_data(reader={**READER, "model_sha256": "A" * 64}),
        "reader.model_sha256",
        "match pattern",
    ),
    "negative_layer": (set_data(reader={**READER, "layer": -1}), "reader.layer", "greater than or equal to 0"),
    "unknown_hook": (
        set_data(reader={**READER, "hook": "attn_z"}),
        "reader.hook",
        "'resid_post', 'attn_out' or 'mlp_out'",
    ),
    "max_norm_zero": (set_data(reader={**READER, "max_norm": 0}), "reader.max_norm", "greater than 0"),
    "sae_format_that_is_no_name": (
        set_data(reader={**READER, "sae": {**READER["sae"], "format": "../pickle"}}),
        "reader.sae.format",
        "match pattern",
    ),
    "summary_of_other_metrics": (
        set_data(summary={**SUMMARY, "auroc_by_others": [0.5, 0.9]}, metrics=METRICS),
        "",
        "it should be: auroc_by_others: [0.7, 0.8], auroc_own: [0.9, 0.9]",
    ),
    "summary_without_metrics": (set_data(summary=SUMMARY), "", "summary: differs from the metrics"),
    "metric_not_finite": (
        set_data(metrics={"a": {**METRICS["a"], "auroc": float("nan")}}),
        "metrics.a.auroc",
        "finite number",
    ),
    "sae_width_zero": (
        set_data(reader={**READER, "sae": {**READER["sae"], "width": 0}}),
        "reader.sae.width",
        "greater than 0",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_sets_are_refused_only_for_their_fault(fault: str) -> None:
    data, where, rule = BAD[fault]
    with pytest.raises(ValidationError) as caught:
        FeatureSet.model_validate(data)
    errors = [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.value.errors()]
    assert len(errors) == 1
    assert errors[0][0] == where
    assert rule in errors[0][1]


@pytest.mark.parametrize("missing", sorted(set(set_data()) - {"condition"}))
def test_every_key_without_a_default_is_needed(missing: str) -> None:
    data = set_data()
    del data[missing]
    with pytest.raises(ValidationError, match="Field required"):
        FeatureSet.model_validate(data)


def test_thresholds_may_be_anything_if_only_the_score_counts() -> None:
    feature = {"index": 3, "label": "x", "weight": 1.0, "threshold": -5.0}
    assert make_summed(features=[feature]).features[0].threshold == -5.0


def test_the_summary_of_the_metrics_is_accepted() -> None:
    used = make_set(summary=SUMMARY, metrics=METRICS)
    assert used.summary == summarised(used.metrics)


def test_sets_are_frozen_and_list_their_latents_in_file_order() -> None:
    feature_set = make_set(features=[{**FEATURE, "index": 9}, FEATURE])
    assert feature_set.indices() == (9, 3)
    with pytest.raises(ValidationError, match="frozen"):
        feature_set.severity = "low"


def _override(**changes: Any) -> SetOverride:
    return SetOverride.model_validate(changes)


def test_no_change_leaves_the_set_as_it_is() -> None:
    feature_set = make_set(escalations=[{"score": 2, "severity": "high"}])
    assert overridden(feature_set, SetOverride()) is feature_set


def test_a_severity_is_final() -> None:
    changed = overridden(make_set(escalations=[{"score": 2, "severity": "high"}]), _override(severity="low"))
    assert (changed.severity, changed.escalations) == ("low", ())


def test_threshold_of_a_score() -> None:
    assert overridden(make_weighted(), _override(threshold=0.9)).threshold == 0.9
    assert overridden(make_weighted(), _override(threshold=0.0)).threshold == 0.0


def test_features_are_changed_and_switched_off() -> None:
    changed = overridden(make_set(), _override(features={3: {"enabled": False}, 7: {"threshold": 0.5}}))
    assert [(f.index, f.threshold) for f in changed.features] == [(7, 0.5)]
    weights = overridden(make_weighted(), _override(features={7: {"weight": 0.0}})).features
    assert [f.weight for f in weights] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("feature_set", "override", "reason"),
    [
        (make_set(), {"features": {4: {}}}, "unsafe-code has no feature 4"),
        (make_set(), {"threshold": 2.0}, "has condition any; set features.INDEX.threshold"),
        (make_set(), {"features": {3: {"enabled": False}, 7: {"enabled": False}}}, "every feature of .* is off"),
        (make_set(), {"features": {3: {"threshold": 0.0}}}, "index 3 needs a threshold above 0"),
        (
            make_weighted(),
            {"features": {3: {"threshold": 1.0}}},
            "^features.3.threshold: unsafe-code has one threshold",
        ),
        (make_set(), {"features": {3: {"weight": 1.0}}}, "^features.3.weight: unsafe-code has condition any"),
        (
            make_set(condition={"kind": "k_of_n", "k": 2}),
            {"features": {3: {"enabled": False}}},
            "k = 2 of 1 features can never hold",
        ),
    ],
    ids=[
        "unknown_index",
        "threshold_without_score",
        "all_features_off",
        "threshold_zero",
        "threshold_of_a_feature_in_a_score",
        "weight_under_condition",
        "too_few_left_for_k",
    ],
)
def test_overrides_that_fit_nothing_are_refused(feature_set: FeatureSet, override: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        overridden(feature_set, _override(**override))


@pytest.mark.parametrize(
    "override",
    [{"treshold": 1}, {"threshold": float("nan")}, {"features": {"x": {}}}, {"features": {3: {"label": "y"}}}],
)
def test_overrides_with_unknown_or_wrong_keys_are_refused(override: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _override(**override)
