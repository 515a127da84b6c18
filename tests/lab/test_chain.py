"""The lab from texts to a running set, command by command on few rows; `make lab-smoke` runs only this file.

The model is a random one of three blocks, made on the spot: what is looked at is that each command works on what the
one before it left, not how good the outcome is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.lab.sae_training.activation_store import ActivationStore
from monitor.readers.sae_reference import REFERENCE_FILE, SaeReference
from monitor.sae.formats.saelens import load_saelens
from monitor.sets.load import builtin_folder, load_feature_set
from tests.cli.test_app import latentwatch
from tests.tiny_bundle import LAYER, tiny_source

WIDTH, K = 64, 8
CATEGORY = "bias"


def set_recipe(name: str) -> dict[str, object]:
    """The recipe of a set with two families of sources."""
    texts = {"title": name, "description": "Test.", "definition": "Test."}
    sources = [{"file": f"{name}_{family}.jsonl", "family": family} for family in ("own", "other")]
    rule = {
        "version": "0.1.0",
        "category": name,
        "severity": "low",
        "page_severity": "high",
        "segments": ["user", "response"],
    }
    return {"id": name, **texts, **rule, "benign": "chat", "windows": name == "deception", "sources": sources}


RECIPES = {
    "model": "tiny",
    "layer": LAYER,
    "max_norm": 3000,
    "prior_tokens": 16,
    "window_tokens": 8,
    "keep": 16,
    "c": 0.1,
    "target_fpr": 0.1,
    "rows_per_source": 40,
    "benign": [
        {"file": "benign.jsonl", "kind": kind, "rows": 20, "role": role}
        for kind, role in (("chat", "fit"), ("chat", "calibrate"), ("code", "calibrate"), ("chat", "judge"))
    ],
    "sets": [set_recipe("bias"), set_recipe("deception")],
}


def run(*arguments: object) -> str:
    """Standard output of a command that must succeed."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


class Chain:
    """Files of one run in `folder`, and the steps that make them, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = tiny_source(folder / "made").folder / "model"
        self.set_file = folder / "sets" / f"{CATEGORY}.yaml"
        self.sae = folder / "run" / "sae"
        self.config = folder / "config.yaml"
        reader = {"model": str(self.model), "precision": "fp32", "threads": 1, "cache_dir": str(folder / "cache")}
        data = {"reader": reader, "feature_sets": {"paths": [str(folder / "sets")]}}
        self.config.write_text(yaml.safe_dump(data))
        rows = (builtin_folder() / "contrasts" / f"{CATEGORY}.jsonl").read_text().splitlines()
        harmless = [row for row in rows[200:] if json.loads(row)["label"] == 0]
        self._write("texts", rows[:120])
        self._write("train", rows[:40])
        self._write("judged", rows[120:160])
        self._write("benign", harmless[:60])
        for name in ("bias", "deception"):
            labelled = (builtin_folder() / "contrasts" / f"{name}.jsonl").read_text().splitlines()
            self._write(f"{name}_own", labelled[:40])
            self._write(f"{name}_other", labelled[40:80])
        self._reading = ["--model", self.model, "--context", 128, "--threads", 1, "--dtype", "float32"]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _write(self, name: str, rows: Sequence[str]) -> None:
        self.file(name).write_text("".join(f"{row}\n" for row in rows))

    def collect(self) -> None:
        out = self.folder / "activations"
        run("lab", "collect", self.file("texts"), "--layers", LAYER, "--out", out, "--held-out", 0.2, *self._reading)
        manifest = ActivationStore.open(out).manifest
        assert manifest.complete
        assert manifest.tokens("train") > 5_000
        assert manifest.tokens("held_out") > 500

    def train(self) -> None:
        recipe = self.folder / "sae.yaml"
        size = {"width": WIDTH, "k": K, "steps": 80, "batch": 256, "buffer": 2_048, "lr": 2e-3}
        recipe.write_text(yaml.safe_dump({"layer": LAYER, "data": str(self.folder / "activations"), **size}))
        figures = json.loads(run("lab", "train", recipe, "--out", self.folder / "run", "--threads", 1))
        assert figures["fvu"] < 0.9, "it learned nothing"
        assert K / 2 < figures["l0"] < 2 * K
        assert figures["spliced"]["ce_zero"] != figures["spliced"]["ce_sae"]
        assert json.loads((self.folder / "run" / "metrics.json").read_text()) == figures
        assert load_saelens(self.sae).d_sae == WIDTH

    def sae_figures(self) -> None:
        figures = json.loads(run("lab", "sae-figures", self.sae, self.file("judged"), "--layer", LAYER, *self._reading))
        assert figures["tokens"] > 1_000
        assert figures["fvu"] < 1
        assert figures["never_active"] < WIDTH

    def make_sets(self) -> None:
        out = self.folder / "fitted"
        shutil.copytree(self.sae, out / "sae")
        recipes = self.folder / "recipes.yaml"
        recipes.write_text(yaml.safe_dump(RECIPES))
        where = ["--data", self.folder, "--recipes", recipes, "--cache", self.folder / "lab-cache"]
        run("lab", "make-sets", out, "--model", self.model, *where, "--features", 12)
        lock = yaml.safe_load((out / "sets.lock").read_text())
        assert sorted(lock) == ["bias", "deception"]
        for name, entry in lock.items():
            made = load_feature_set(out / f"{name}.yaml")
            assert entry == {"version": "0.1.0", "sha256": made.sha256}
            assert len(made.set.features) == 12
            assert made.set.calibration is not None
            assert made.set.pooling.window_tokens == (8 if name == "deception" else None)
            assert made.set.calibration.measured_n == 20
            assert [e.severity for e in made.set.escalations] == ["high"]
            assert (made.set.threshold or 1) <= made.set.escalations[0].score
            assert sorted(made.set.metrics) == [f"{name}_other", f"own_{name}_own"]
            assert all(metric.held_out and metric.n_positive for metric in made.set.metrics.values())
            assert all(list(metric.by_size) == ["all", "64", "32", "16"] for metric in made.set.metrics.values())

    def curate(self) -> None:
        out = self.folder / "curated"
        hook = ["--sae", self.sae, "--layer", LAYER, "--model", self.model, "--dtype", "float32", "--threads", 1]
        files = ["--data", self.file("texts"), "--benign", self.file("benign"), "--category", CATEGORY]
        run("lab", "curate", *hook, *files, "--out", out, "--top", 4, "--target-fpr", 0.1)
        found = load_feature_set(out / "candidates.yaml").set
        assert 0 < len(found.features) <= 4
        assert len(list((out / "candidates").glob("latent-*.html"))) == len(found.features)
        assert all(f"latent-{f.index:05}.html" in (out / "index.html").read_text() for f in found.features)
        self.set_file.parent.mkdir()
        self.set_file.write_bytes((out / "candidates.yaml").read_bytes())

    def evaluate(self) -> None:
        out, figures = self.folder / "report", self.folder / "figures.json"
        files = ["--data", self.file("judged"), "--benign", self.file("benign"), "--train", self.file("train")]
        options = ["--out", out, "--json", figures, "--no-peers", "--config", self.config]
        run("lab", "evaluate", "--set", self.set_file, *files, *options)
        rows = json.loads(figures.read_text())
        detectors = {row["detector"] for row in rows}
        assert detectors == {"shipped", "single_feature", "weighted", "dense_probe", "word_only"}
        assert all(0 <= row["auroc"] <= 1 and row["n_pos"] + row["n_neg"] == 40 for row in rows)
        assert {"config.json", "log.txt", "metrics.json", "report.md"} <= {path.name for path in out.iterdir()}
        assert "| shipped |" in (out / "report.md").read_text()

    def calibrate(self) -> None:
        diff = run(
            *("lab", "calibrate", "--set", self.set_file, "--benign", self.file("benign")),
            *("--target-fpr", 0.3, "--write", "--config", self.config),
        )
        used = load_feature_set(self.set_file).set
        assert f"threshold: {used.features[0].threshold}" in diff
        assert used.calibration is not None
        assert (used.calibration.n, used.calibration.measured_n) == (30, 30)

    def reference(self) -> None:
        run("lab", "reference", self.set_file.parent, "--config", self.config)
        stored = SaeReference.load(self.sae / REFERENCE_FILE)
        assert stored.info.width == WIDTH
        assert stored.activations.values.size > 100

    def scan(self) -> None:
        """The result works in the runtime, whose compiled reader reproduces the reference activations."""
        done = latentwatch("scan", str(self.file("judged")), "--config", str(self.config))
        assert done.returncode == 0, done.stderr
        alerts = done.stdout.splitlines()
        assert 0 < len(alerts) <= 40
        assert {json.loads(alert)["set"]["category"] for alert in alerts} == {CATEGORY}


@pytest.mark.filterwarnings("default")  # of the libraries that train and fit
def test_from_texts_to_alerts(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.collect()
    chain.train()
    chain.sae_figures()
    chain.make_sets()
    chain.curate()
    chain.evaluate()
    chain.calibrate()
    chain.reference()
    chain.scan()
