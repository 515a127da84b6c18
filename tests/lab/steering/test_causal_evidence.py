"""`latentwatch verify` on a model in which one feature alone decides the next word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from monitor.alerts.alert import Alert, AlertContent, AlertFeature, TokenActivation
from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.events.event import Event, Message, Origin
from monitor.lab.steering.causal_evidence import CausalEvidence, EvidenceRequest, causal_evidence
from monitor.lab.steering.rig import SteeringRig
from tests.alert_factory import make_alert
from tests.lab.small_llama import WORDS
from tests.lab.steering.planted import CAUSAL, open_rig, save_set

FIRST = 5  # in the vocabulary, special words stand in front
TEXT = " ".join(["w3", "w50"] * 4)
SPANS = [(n * 7, n * 7 + 2) for n in range(4)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> Path:
    """w3 carries both features of the set, and only the first one makes w50 likely as the next word."""
    folder = tmp_path_factory.mktemp("causal") / "model"
    shutil.copytree(small_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    rows = _decoder(folder.parent / "sets", small_llama)
    for name, tensor in tensors.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[:] = 0  # the residual stream is the embedding
    tensors["model.embed_tokens.weight"][FIRST + WORDS.index("w3")] = 5 * rows[CAUSAL] + rows[CAUSAL + 1]
    head = np.zeros_like(tensors["lm_head.weight"])
    head[FIRST + WORDS.index("w50")] = rows[CAUSAL]
    tensors["lm_head.weight"] = head
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def set_file(model: Path) -> Path:
    return save_set(model.parent / "sets", model)


@pytest.fixture(scope="module")
def rig(set_file: Path, model: Path) -> SteeringRig:
    return open_rig(set_file, model)


def _decoder(folder: Path, model: Path) -> np.ndarray:
    save_set(folder, model)
    return load_file(folder / "sae" / "sae_weights.safetensors")["W_dec"]


def alert_on(rig: SteeringRig, **changes: Any) -> Alert:
    tokens = tuple(TokenActivation(start=a, end=b, activation=5.0) for a, b in SPANS)
    features = tuple(
        AlertFeature(
            index=index, label=f"latent {index}", activation=1.0, contribution=1.0, threshold=None, weight=1.0,
            tokens=tokens,
        )
        for index in (CAUSAL, CAUSAL + 1)
    )  # fmt: skip
    alert = make_alert()
    return alert.model_copy(
        update={
            "set": alert.set.model_copy(update={"id": "planted"}),
            "segment": alert.segment.model_copy(update={"chars": len(TEXT), "tokens": 8}),
            "reader": alert.reader.model_copy(update={"sae_sha256": rig.hook.reader.sae.sha256}),
            "features": features,
            **changes,
        }
    )


def event(text: str = TEXT) -> Event:
    return Event("chat-1", (Message("user", "w1 w2"),), text, Origin("f", 0, 0))


@pytest.fixture(scope="module")
def found(rig: SteeringRig) -> CausalEvidence:
    return causal_evidence(rig, alert_on(rig), event(), EvidenceRequest(controls=8))


def test_the_planted_feature_is_found_and_the_other_is_not(found: CausalEvidence) -> None:
    causal, other, together = found.weights
    assert (causal.index, other.index, together.index) == (CAUSAL, CAUSAL + 1, None)
    assert causal.weight > 1
    assert causal.interval[0] > 0.5
    assert other.weight == pytest.approx(0, abs=0.1)
    assert abs(causal.control_change) < 0.2 * causal.change
    assert together.weight == pytest.approx(causal.weight, rel=0.2)


def test_the_score_at_the_hook_falls_by_what_the_feature_contributes(found: CausalEvidence) -> None:
    causal, other, together = found.weights
    assert found.score > other.score > causal.score > together.score


def test_what_comes_of_it_is_the_same_each_time_and_is_json(found: CausalEvidence, rig: SteeringRig) -> None:
    again = causal_evidence(rig, alert_on(rig), event(), EvidenceRequest(controls=8))
    assert json.dumps(again.row()) == json.dumps(found.row())
    assert found.flagged_tokens == 8  # four words, and the one after each


def test_alerts_that_cannot_be_verified_are_refused(rig: SteeringRig) -> None:
    request = EvidenceRequest(controls=2)
    with pytest.raises(ConfigError, match="names no feature"):
        causal_evidence(rig, alert_on(rig, features=()), event(), request)
    with pytest.raises(ConfigError, match="does not have the text"):
        causal_evidence(rig, alert_on(rig), event("w1"), request)
    with pytest.raises(ConfigError, match="set unsafe-code"):
        causal_evidence(rig, alert_on(rig, set=make_alert().set), event(), request)


def test_the_command_reads_the_text_from_the_alert_or_from_events(
    rig: SteeringRig, set_file: Path, model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"reader: {{threads: 1, model: {model}}}\n")
    shared = ["--set", str(set_file), "--controls", "2", "-c", str(config)]
    content = AlertContent(prompt="w1 w2", text=TEXT, strengths=())
    alert = alert_on(rig, content=content)
    one, many, events = tmp_path / "alert.json", tmp_path / "alerts.jsonl", tmp_path / "events.jsonl"
    one.write_text(alert.to_json())
    plain = alert_on(rig)
    many.write_text(f"{make_alert('other').to_json()}\n{plain.to_json()}\n")
    events.write_text(json.dumps({"id": "chat-1", "prompt": "w1 w2", "response": TEXT}) + "\n")
    first = CliRunner().invoke(app, ["verify", str(one), "--json", *shared])
    assert first.exit_code == 0, (first.output, first.exception)
    second = CliRunner().invoke(
        app, ["verify", "--id", plain.id, "--source", str(many), "--events", str(events), "--json", *shared]
    )
    assert json.loads(first.stdout) == json.loads(second.stdout)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["verify", str(one), *shared])
    assert "causal weight" in shown.stdout
    assert f"latent {CAUSAL}" in shown.stdout


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    def problem(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
        assert isinstance(done.exception, ConfigError), done.exception
        return str(done.exception)

    path = tmp_path / "a.json"
    path.write_text("{}")
    assert "give either the file of one alert" in problem()
    assert "give either the file of one alert" in problem("--source", path)
    assert "not an alert" in problem(path)
    assert "no alert has the id x" in problem("--id", "x", "--source", path)
    assert "cannot be read" in problem(tmp_path / "none.json")
