"""`lab curate` with a small model and an SAE with one latent for the word that makes a text risky."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.rows import load_benign
from monitor.lab.reading.token_shards import ShardReader
from monitor.sets.load import load_feature_set
from tests.lab.commands.test_sae_commands import lab
from tests.lab.planted_sae import LATENT, LAYER, WORD, save_planted_model, save_planted_sae
from tests.lab.small_llama import WORDS

ATTACK = '</textarea><script>alert("x")</script><img src=x onerror=alert(1)>'


def _rows(name: str, count: int, seed: int, risky: bool = True, attack: str = "") -> list[dict[str, Any]]:
    draw = random.Random(seed)  # noqa: S311 - texts, not secrets
    plain = [word for word in WORDS if word != WORD]
    rows = []
    for n in range(count):
        words = [draw.choice(plain) for _ in range(draw.randint(10, 30))]
        label = n % 2 if risky else 0
        if label:
            words[draw.randrange(len(words))] = f"{WORD} {attack} {WORD}"
        elif not risky and n % 40 == 0:
            words[0] = WORD
        rows.append({"id": f"{name}{n}{attack}", "prompt": draw.choice(plain), "response": " ".join(words)})
        if risky:
            rows[-1]["label"] = label
    return rows


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small_llama: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("curate")
    model = save_planted_model(folder / "model", small_llama)
    return {
        "sae": save_planted_sae(folder / "sae", model),
        "a": _write(folder / "a.jsonl", _rows("a", 60, 1)),
        "b": _write(folder / "b.jsonl", _rows("b", 50, 2, attack=ATTACK)),
        "benign": _write(folder / "benign.jsonl", _rows("c", 120, 3, risky=False)),
        "cache": folder / "cache",
        "run": folder / "run",
        "model": model,
    }


def _arguments(files: dict[str, Path], out: Path) -> list[object]:
    return [
        "curate", "--data", files["a"], "--data", files["b"], "--benign", files["benign"], "--category", "planted",
        "--sae", files["sae"], "--layer", LAYER, "--model", files["model"], "--max-norm", 0, "--threads", 1,
        "--cache", files["cache"], "--top", 3, "--out", out, "--seed", 4,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(files: dict[str, Path]) -> Path:
    done = lab(*_arguments(files, files["run"]))
    assert done.exit_code == 0, (done.output, done.exception)
    return files["run"]


@pytest.fixture(scope="module")
def metrics(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "metrics.json").read_text())
    return found


def test_the_planted_latent_comes_first(metrics: list[dict[str, Any]]) -> None:
    first = metrics[0]
    assert (first["rank"], first["latent"], first["agreement"]) == (1, LATENT, 1.0)
    assert set(first["auroc_by_source"]) == {"a.jsonl", "b.jsonl"}
    assert min(first["auroc_mean"], first["auroc_max"], first["auroc_topk_mean"], first["worst_auroc"]) > 0.95
    assert first["length_matched_auroc"] > 0.95
    assert first["benign_texts"] == 3 / 120
    assert 0 < first["benign_tokens"] < 0.01
    assert first["fpr_at_threshold"] <= 0.01 < first["benign_texts"]
    assert first["cohens_d"] > 1
    assert f'"{WORD}"' in first["label"]
    assert all(other["score"] < first["score"] / 2 for other in metrics[1:])


def test_the_set_is_one_that_the_sidecar_takes(
    run: Path, files: dict[str, Path], metrics: list[dict[str, Any]]
) -> None:
    used = load_feature_set(run / "candidates.yaml").set
    assert (used.id, used.category, used.status, used.detector) == (
        "planted_candidates", "planted", "experimental", "threshold",
    )  # fmt: skip
    assert used.segments == ("response",)
    assert used.indices() == tuple(row["latent"] for row in metrics)
    assert [f.threshold for f in used.features] == [row["threshold"] for row in metrics]
    assert used.features[0].label == metrics[0]["label"]
    assert "on average over 2 sources" in used.features[0].evidence
    config = Config.model_validate(
        {
            "reader": {"model": str(files["model"]), "engine": "torch", "threads": 1},
            "feature_sets": {"paths": [str(run / "candidates.yaml")]},
        }
    )
    artefacts = load_artefacts(config)  # checks both hashes
    rows = load_benign(files["benign"])
    scores = [s[used.id] for s in build_engine(config, artefacts).scores([r.event(n) for n, r in enumerate(rows)])]
    reached = np.mean([score is not None and score.value >= 1 for score in scores])
    assert f"together they let {reached:.3g} of them through" in used.known_gaps[0]
    assert all(row["fpr_at_threshold"] <= 0.01 for row in metrics)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if any(name.startswith("on") for name, _ in attrs):
            self.tags.append("handler")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_of_attackers_stay_texts(run: Path, metrics: list[dict[str, Any]]) -> None:
    page = _Page((run / "candidates" / f"latent-{LATENT:05d}.html").read_text())
    assert '<script>alert("x")</script>' in page.text
    assert "onerror=alert(1)>" in page.text
    assert len(list((run / "candidates").iterdir())) == len(metrics)
    for file in run.rglob("*.html"):
        found = _Page(file.read_text())
        assert (found.tags.count("script"), found.tags.count("style")) == (1, 1)
        assert not {"img", "handler", "link", "iframe", "form"} & set(found.tags)
        assert 'Content-Security-Policy" content="default-src &#39;none&#39;' in file.read_text()
        assert file.stat().st_mode & 0o077 == 0, "others may not read what users wrote"


def test_a_page_shows_what_it_takes_to_name_a_latent(run: Path) -> None:
    source = (run / "candidates" / f"latent-{LATENT:05d}.html").read_text()
    page = _Page(source)
    for heading in ("Strongest", "From the middle of the range", "Random active tokens", "Logit lens"):
        assert heading in page.text
    assert "Tokens made more likely" in page.text
    assert '<rect class="risky"' in source
    assert f'<mark class="s8" title="100 % of the strongest">{WORD}</mark>' in source
    assert f'href="candidates/latent-{LATENT:05d}.html"' in (run / "index.html").read_text()
    line = next(n for n in (run / "candidates.yaml").read_text().splitlines() if n.startswith("- {index:"))
    assert line in page.text


def test_the_run_folder_says_what_the_run_was_made_from(run: Path, files: dict[str, Path]) -> None:
    config = json.loads((run / "config.json").read_text())
    assert (config["seed"], config["category"], config["pooling"], config["top"]) == (4, "planted", "mean", 3)
    assert set(config["data"]) == {str(files["a"]), str(files["b"])}
    assert set(config["benign"]) == {str(files["benign"])}
    assert config["model"]["layer"] == LAYER
    assert f"{files['benign']}: 120 rows" in (run / "log.txt").read_text()


def test_what_is_cached_is_not_read_again(
    run: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(ShardReader, "_shard", never)
    done = lab(*_arguments(files, tmp_path / "again"))
    assert done.exit_code == 0, done.exception
    for name in ("metrics.json", "candidates.yaml", f"candidates/latent-{LATENT:05d}.html"):
        assert (tmp_path / "again" / name).read_text() == (run / name).read_text()
    damaged = sorted(files["cache"].glob("*.npz"))[0]
    kept = damaged.read_bytes()
    damaged.write_bytes(kept[:100])
    done = lab(*_arguments(files, tmp_path / "damaged"))
    damaged.write_bytes(kept)
    assert isinstance(done.exception, ConfigError)
    assert f"{damaged}: not a file of cached activations" in str(done.exception)


def test_a_set_names_the_hook(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    few = _write(tmp_path / "few.jsonl", [row for row in _rows("f", 30, 5) if row["label"]])
    done = lab(
        "curate", "--data", few, "--benign", files["benign"], "--category", "planted", "--top", 1, "--pooling", "max",
        "--set", run / "candidates.yaml", "--model", files["model"], "--out", tmp_path / "run", "--threads", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    before, after = (load_feature_set(f / "candidates.yaml").set for f in (run, tmp_path / "run"))
    assert after.reader == before.reader
    assert (after.indices(), after.pooling.kind) == ((LATENT,), "max")
    assert "few.jsonl: no rows of label 0, so it is compared with the benign texts" in done.stderr
    assert "few.jsonl: fewer than 20 rows of a label" in done.stderr


def test_yaml_survives_any_label(run: Path) -> None:
    body = yaml.safe_load((run / "candidates.yaml").read_text())
    assert list(body)[-1] == "reader"
    assert body["features"][0]["evidence"].startswith("lab curate, rank 1: AUROC ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--category": "Not This"}, "--category: Not This: only lower-case letters, digits and _ are allowed"),
        ({"--target-fpr": 0.7}, "--target-fpr: must be above 0 and below 0.5"),
        ({"--sae": None}, "give either --set or --sae"),
        ({"--set": "bias"}, "give either --set or --sae"),
        ({"--layer": None}, "--layer: missing; with --sae, give the block whose output the SAE reads"),
        ({"--sae": None, "--set": "bias"}, "--layer and --max-norm go with --sae; a set names its own"),
        ({"--data": "{benign}"}, "{benign}: label: no row has label 1"),
        ({"--data": "{unlabelled}"}, "{unlabelled}:1: label: Field required"),
        ({"--benign": "{a}"}, "{a}:2: label: a file of benign rows must not contain label 1"),
        ({"--benign": "{prompts}"}, "--benign: no row has text in the segments that are read (response)"),
        ({"--layer": 7}, "{model}: no layer 7: the model has 2"),
        ({"--sae": "{narrow}"}, "{narrow}: d_in is 16, but the residual stream of {model} has width 32"),
        ({"--data": "{same}"}, "--data: no latent is more active on label 1"),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_said(
    files: dict[str, Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    made = {
        **files,
        "benign": _write(tmp_path / "harmless.jsonl", [{**r, "label": 0} for r in _rows("h", 4, 7, risky=False)]),
        "unlabelled": _write(tmp_path / "unlabelled.jsonl", [{"prompt": "w1"}]),
        "prompts": _write(tmp_path / "prompts.jsonl", [{"prompt": "w1 w2"}]),
        "same": _write(tmp_path / "same.jsonl", [{"response": "w1 w2 w3 w4", "label": n % 2} for n in range(8)]),
        "narrow": tmp_path / "narrow",
    }
    _narrow_sae(made["narrow"])
    options: dict[str, object] = {
        "--data": files["a"], "--benign": files["benign"], "--category": "planted", "--sae": files["sae"],
        "--layer": LAYER, "--model": files["model"], "--limit": 8, "--out": tmp_path / "out", "--threads": 1,
        "--cache": files["cache"],
    }  # fmt: skip
    options |= {k: v.format(**made) if isinstance(v, str) else v for k, v in changes.items()}
    done = lab("curate", *(part for k, v in options.items() if v is not None for part in (k, v)))
    assert isinstance(done.exception, ConfigError), done.output
    assert any(problem.startswith(message.format(**made)) for problem in done.exception.problems), done.exception


def _narrow_sae(folder: Path) -> None:
    from safetensors.numpy import save_file

    folder.mkdir()
    shapes = {"W_enc": (16, 4), "W_dec": (4, 16), "b_enc": (4,), "b_dec": (16,)}
    save_file({k: np.ones(v, np.float32) for k, v in shapes.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", "d_in": 16, "d_sae": 4}))
