"""The YAML file of a fitted set."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from detectors.feature_set import FeatureSet
from monitor.lab.data.recipe import Recipes, SetRecipe


def write_set(path: Path, body: dict[str, Any], evidence: str) -> dict[str, str]:
    """Writes one set's file, checked, and returns its entry in the lock."""
    FeatureSet.model_validate(body)
    features = body.pop("features")
    after = {k: body.pop(k) for k in ("bias", "condition", "calibration", "metrics", "falsepositives", "known_gaps")}
    lines = [
        "# Written by monitor.lab.fit.make_sets; figures are measured, not typed in.",
        yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=118).rstrip(),
        f"# Labels are {evidence}. Weights are per unit of the pooled activation, the most telling first.",
        "features:",
        *(
            f"- {yaml.safe_dump(f, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False).strip()}"
            for f in features
        ),
        yaml.safe_dump(after, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None).rstrip(),
    ]
    text = "\n".join(lines) + "\n"
    path.write_text(text)
    return {"version": body["version"], "sha256": hashlib.sha256(text.encode()).hexdigest()}


def set_body(recipe: SetRecipe, recipes: Recipes, model_sha256: str, sae_sha256: str, width: int) -> dict[str, Any]:
    """The part of a set that is not measured."""
    return {
        "id": recipe.id,
        "version": recipe.version,
        "title": recipe.title,
        "category": recipe.category,
        "severity": recipe.severity,
        "status": "experimental",
        "description": recipe.description,
        "definition": recipe.definition,
        "references": list(recipe.references),
        "tags": list(recipe.tags),
        "reader": {
            "model": recipes.model,
            "model_sha256": model_sha256,
            "layer": recipes.layer,
            "hook": "resid_post",
            "max_norm": recipes.max_norm,
            "sae": {
                "format": "saelens",
                "path": "sae",
                "sha256": sae_sha256,
                "width": width,
                "activation_basis": "raw",
            },
        },
        "detector": "weighted",
        "segments": list(recipe.segments),
        "across": recipe.across,
        "pooling": {"kind": "mean", "prior_tokens": recipes.prior_tokens},
    }
