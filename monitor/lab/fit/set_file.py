"""The files of fitted sets: a short YAML file, weights and metrics for each; reader and labels for all of a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from detectors.metrics import Metric, summarised
from monitor.lab.data.recipe import Recipes, SetRecipe
from monitor.sets.labels import LABELS_FILE, load_labels
from monitor.sets.load import load_feature_set
from monitor.sets.parts import READER_FILE
from monitor.sets.weights import SetWeights, save_weights

NAMED_FEATURES = 12
"""Features that a set's YAML file names; the labels of all others are in LABELS_FILE."""
NO_LABEL = "no clear tokens"
_HEAD = "# Written by monitor.lab.fit.make_sets; figures are measured, not typed in.\n"
_WIDTH = 118


def write_set(
    folder: Path,
    body: Mapping[str, Any],
    weights: SetWeights,
    metrics: Mapping[str, Mapping[str, Any]],
    labels: Mapping[int, str],
) -> dict[str, str]:
    """Writes the files of one set, loads them again, and returns its entry in the lock.

    `body` has the keys of the YAML file but those that follow from `weights` and `metrics`. Reader and labels of the
    folder must have been written before. Raises ConfigError if the set is not valid.
    """
    name = body["id"]
    _write_metrics(folder / f"{name}.metrics.json", metrics)
    file = f"{name}.safetensors"
    sha256 = save_weights(folder / file, weights)
    summary = summarised({source: Metric.model_validate(metric) for source, metric in metrics.items()})
    path = folder / f"{name}.yaml"
    whole = {
        **body,
        "weights": {"path": file, "sha256": sha256},
        "summary": summary.model_dump(mode="json"),
        "features": named_features(weights, labels),
    }
    path.write_text(set_text(whole, len(weights.indices)), encoding="utf-8")
    return {"version": body["version"], "sha256": load_feature_set(path).sha256}


def set_text(body: Mapping[str, Any], features: int) -> str:
    """The YAML file of a set that has `features` in all."""
    top = ("id", "title", "version", "status", "severity", "category", "definition", "description")
    decision = ("segments", "combine_segments", "detector", "weights", "bias", "pooling", "threshold", "escalations")
    shown = len(body["features"])
    return "\n".join(
        [
            _HEAD + _block(body, top),
            _block(body, decision, flow=True),
            _block(body, ("calibration",), flow=True),
            f"# Held-out AUROC, lowest and highest; all figures are in {body['id']}.metrics.json.",
            _block(body, ("summary",), flow=True),
            f"# The {shown} labelled features with the highest weights, of {features}; {LABELS_FILE} has all labels.",
            "features:",
            *(f"- {_line(feature)}" for feature in body["features"]),
            "",
            _block(body, ("falsepositives", "known_gaps", "references")) + _block(body, ("tags",), flow=True),
        ]
    )


def named_features(weights: SetWeights, labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """The labelled features with the highest weights."""
    order = sorted(range(len(weights.indices)), key=lambda n: -float(weights.weights[n]))
    latents = [int(weights.indices[n]) for n in order]
    return [{"index": i, "label": labels[i]} for i in latents if labels[i] != NO_LABEL][:NAMED_FEATURES]


def write_reader(folder: Path, recipes: Recipes, model_sha256: str, sae_sha256: str, width: int) -> None:
    """The reader of all sets in the folder."""
    reader = {
        "model": recipes.model,
        "model_sha256": model_sha256,
        "layer": recipes.layer,
        "hook": "resid_post",
        "max_norm": recipes.max_norm,
        "sae": {"format": "saelens", "path": "sae", "sha256": sae_sha256, "width": width, "activation_basis": "raw"},
    }
    head = "# The model, layer and SAE that the sets of this folder were made on.\n"
    (folder / READER_FILE).write_text(head + yaml.safe_dump(reader, sort_keys=False))


def write_labels(folder: Path, labels: Mapping[int, str], evidence: str) -> None:
    """The strongest tokens of all latents that the sets of the folder use. Names that were given before stay."""
    path = folder / LABELS_FILE
    before, _ = load_labels(path)
    before.model_copy(update={"labels": dict(labels), "evidence": evidence}).save(path)


def set_body(recipe: SetRecipe, recipes: Recipes, window_penalty: float | None = None) -> dict[str, Any]:
    """The part of a set that is not measured, and its pooling."""
    pooling = recipes.pooling(recipe, window_penalty or 0.0)
    return {
        "id": recipe.id,
        "title": recipe.title,
        "version": recipe.version,
        "status": "experimental",
        "severity": recipe.severity,
        "category": recipe.category,
        "definition": recipe.definition,
        "description": recipe.description,
        "segments": list(recipe.segments),
        "combine_segments": recipe.combine_segments,
        "pooling": pooling.model_dump(exclude_none=True, exclude_defaults=True),
        "falsepositives": list(recipe.falsepositives),
        "known_gaps": list(recipe.known_gaps),
        "references": list(recipe.references),
        "tags": list(recipe.tags),
    }


def _write_metrics(path: Path, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    sources = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in metric.items())
        + "\n}"
        for name, metric in metrics.items()
    ]
    path.write_text("{\n" + ",\n".join(sources) + "\n}\n", encoding="utf-8")


def _block(body: Mapping[str, Any], keys: tuple[str, ...], flow: bool = False) -> str:
    """The keys as YAML; with `flow`, lists and mappings without others inside are on one line."""
    chosen = {key: body[key] for key in keys if key in body}
    style = None if flow else False
    return yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=style)


def _line(feature: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        dict(feature), default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False
    ).strip()
