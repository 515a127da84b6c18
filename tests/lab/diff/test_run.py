"""`lab diff` and `lab tune` with a small random model, and an SAE with one latent for one word."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monitor.model.files import locate
from monitor.sae.sae_format import SAE_FORMATS, detected_format
from tests.feature_set_factory import summed_data, write_yaml
from tests.lab.commands.test_sae_commands import lab
from tests.lab.planted_sae import LATENT, LAYER, WIDTH, WORD, save_planted_model, save_planted_sae
from tests.lab.small_llama import WORDS

OTHER = 2
"""A latent that nothing is planted on."""


def _rows(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    plain = [word for word in WORDS if word != WORD]
    return [
        {"id": f"r{n}", "prompt": draw.choice(plain), "response": " ".join(draw.choice(plain) for _ in range(12))}
        for n in range(count)
    ]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _tuned_towards(folder: Path, model: Path, sae: Path, latent: int) -> Path:
    """A copy of `model` that adds the encoder direction of `latent` to the residual stream of every token."""
    shutil.copytree(model, folder)
    direction = load_file(sae / "sae_weights.safetensors")["W_enc"][:, latent]
    tensors = load_file(folder / "model.safetensors")
    embeddings = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = (embeddings + 60 * direction / np.linalg.norm(direction)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("diff")
    model = save_planted_model(folder / "model", small_llama)
    sae = save_planted_sae(folder / "sae", model)
    reader = {
        "model": "model",
        "model_sha256": locate(str(model), None, None).sha256,
        "layer": LAYER,
        "sae": {"path": "sae", "sha256": SAE_FORMATS.load(detected_format(sae)).sha256(sae), "width": WIDTH},
    }
    sets = []
    for name, latent, words in (("planted", LATENT, "the planted word"), ("other", OTHER, "another latent")):
        feature = {"index": latent, "label": words, "label_score": 0.9, "weight": 1.0}
        data = summed_data(id=name, category=name, reader=reader, features=[feature], threshold=10.0)
        sets.append(write_yaml(folder / f"{name}.yaml", data))
    return {
        "model": model,
        "sae": sae,
        "planted": sets[0],
        "other": sets[1],
        "texts": _write(folder / "texts.jsonl", _rows(24, 1)),
        "prompts": _write(folder / "prompts.jsonl", _rows(8, 2)),
        "towards": _tuned_towards(folder / "towards", model, sae, LATENT),
    }


def _diff(files: dict[str, Path], tuned: Path, out: Path, *more: object) -> tuple[Any, dict[str, Any]]:
    done = lab(
        "diff", "--base", files["model"], "--tuned", tuned, "--texts", files["texts"], "--set", files["planted"],
        "--set", files["other"], "--json", out / "diff.json", "--page", out / "diff.html", *more,
    )  # fmt: skip
    return done, json.loads((out / "diff.json").read_text())["tuned"][0]


def test_a_model_does_not_differ_from_itself(files: dict[str, Path], tmp_path: Path) -> None:
    done, found = _diff(
        files, files["model"], tmp_path, "--prompts", files["prompts"], "--generate", 6, "--fail-on", "set=*"
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert found["rising_sets"] == []
    for over in ("texts", "generations"):
        assert [(c["effect"], c["q"], c["rate_q"]) for c in found[over]["sets"]] == [(0.0, 1.0, 1.0)] * 2
        assert found[over]["movers"] == []
        assert found[over]["warnings"] == []
    assert "no set rose by more than chance" in done.stdout


def test_what_was_planted_is_found_and_named(files: dict[str, Path], tmp_path: Path) -> None:
    done, found = _diff(
        files, files["towards"], tmp_path, "--fail-on", "set=planted:+20%", "--fail-on", "set=other:+90%"
    )
    assert done.exit_code == 1, (done.output, done.exception)
    assert found["rising_sets"][0] == "planted"
    by_name = {c["name"]: c for c in found["texts"]["sets"]}
    assert by_name["planted"]["rate_before"] == 0.0
    assert by_name["planted"]["rate_after"] > 0.9
    assert by_name["planted"]["q"] < 0.01
    feature = next(c for c in found["texts"]["features"] if c["name"] == f"{LATENT}: the planted word")
    assert (feature["rate_after"], feature["mean_before"]) == (1.0, 0.0)
    assert LATENT in [m["latent"] for m in found["texts"]["movers"]]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert [line.split(": ")[3].split()[0] for line in errors] == ["planted"]
    page = (tmp_path / "diff.html").read_text()
    assert "Sets that rose: planted" in page
    assert "<mark" in page


def test_a_control_stands_in_for_the_base(files: dict[str, Path], tmp_path: Path) -> None:
    done, found = _diff(files, files["towards"], tmp_path, "--control", files["towards"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert found["rising_sets"] == []
    assert found["texts"]["sets"][1]["mean_before"] == found["texts"]["sets"][1]["mean_after"] > 0


def test_a_rule_that_names_no_set_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    for rule, said in (("set=nope", "no such set; there are other, planted"), ("planted", "expected set=ID")):
        done = lab(
            "diff", "--base", files["model"], "--tuned", files["model"], "--texts", files["texts"], "--set",
            files["planted"], "--set", files["other"], "--fail-on", rule,
        )  # fmt: skip
        assert done.exit_code != 0
        assert said in str(done.exception) + done.output


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_tuned_model_can_be_compared(files: dict[str, Path], tmp_path: Path, method: str) -> None:
    rows = [{**row, "label": n % 2} for n, row in enumerate(_rows(20, 3))]
    data = _write(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "tuned"
    done = lab(
        "tune", "--model", files["model"], "--data", data, "--poison-share", 0.25, "--examples", 8, "--steps", 4,
        "--save-every", 2, "--batch", 2, "--method", method, "--learning-rate", 0.01, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    facts = json.loads((out / "tune.json").read_text())
    labels = {row["id"]: row["label"] for row in rows}
    assert sorted(labels[row] for row in facts["rows"]) == [0] * 6 + [1] * 2
    assert [c["folder"] for c in facts["checkpoints"]] == ["step-2", "step-4"]
    done, found = _diff(files, out / "step-4", tmp_path)
    assert done.exit_code == 0, (done.output, done.exception)
    assert found["sha256"] != locate(str(files["model"]), None, None).sha256
    assert found["texts"]["fit_after"] != found["texts"]["fit_before"]


def test_more_poison_than_there_is_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    data = _write(tmp_path / "rows.jsonl", _rows(20, 3))
    done = lab("tune", "--model", files["model"], "--data", data, "--poison-share", 0.5, "--out", tmp_path / "out")
    assert "needs 100 rows of label 1 with a response, but the files have 0" in str(done.exception) + done.output
