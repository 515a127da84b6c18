"""`latentwatch init` on Gemma 3 270M with an SAE trained on the spot, as docs/your-model.md shows it with more rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.sets.load import builtin_folder, load_feature_set
from tests.gemma_model import LAYER, PACKAGE, assemble, parts

pytestmark = [
    pytest.mark.model,
    pytest.mark.whole,
    pytest.mark.skipif(not parts(), reason=f"pip install {PACKAGE} (240 MB) to run this test"),
]

MAX_NORM = 20_000
"""Ordinary tokens have 4,000 to 10,000 at LAYER, and the first token of a text 88,000."""
CONTRASTS = builtin_folder() / "contrasts"


def run(*arguments: object) -> str:
    """Standard error of a command that must succeed."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stderr


@pytest.mark.filterwarnings("default")  # of the libraries that train and fit
def test_from_the_packaged_model_to_alerts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    gguf = assemble(parts(), tmp_path / "gemma-3-270m.gguf")
    labelled, benign = CONTRASTS / "bias.jsonl", tmp_path / "benign.jsonl"
    rows = (CONTRASTS / "sycophancy.jsonl").read_text().splitlines(keepends=True)
    benign.write_text("".join(row for row in rows if json.loads(row)["label"] == 0))
    store, recipe = tmp_path / "activations", tmp_path / "sae.yaml"
    reading = ["--model", gguf, "--plain", "--max-norm", MAX_NORM, "--tokens", 30_000, "--dtype", "float32"]
    run("lab", "collect", labelled, benign, "--layers", LAYER, "--out", store, *reading)
    size = {"width": 1024, "k": 32, "steps": 100, "batch": 1024, "buffer": 8192, "lr": 2e-3}
    recipe.write_text(yaml.safe_dump({"layer": LAYER, "data": str(store), **size}))
    run("lab", "train", recipe, "--out", tmp_path / "run")

    sae, folder = tmp_path / "run" / "sae", tmp_path / "gemma-bias"
    files = ["--data", f"bias={labelled}", "--benign", benign, "--limit", 160, "--target-fpr", 0.03]
    said = run("init", folder, "--model", gguf, "--sae", sae, "--layer", LAYER, "--max-norm", MAX_NORM, *files)
    assert "all steps are done" in said
    made = load_feature_set(folder / "sets" / "bias.yaml").set
    assert made.reader.model == "gemma-3-270m"
    assert made.calibration is not None
    figures = json.loads((folder / "report" / "bias" / "metrics.json").read_text())
    assert next(row for row in figures if row["detector"] == "shipped")["auroc"] > 0.5
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert {alert["set"]["id"] for alert in alerts} == {"bias"}
