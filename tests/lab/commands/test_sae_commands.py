"""The lab's commands as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.lab.sae_training.activation_store import ActivationStore
from tests.lab.small_llama import CONTEXT

ROOT = Path(__file__).parents[3]
SMALL = {"width": 64, "k": 4, "steps": 6, "batch": 64, "buffer": 256, "threads": 1}


def lab(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["lab", *map(str, arguments)])


def recipe(folder: Path, **keys: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **keys}))
    return path


def test_from_texts_to_a_measured_sae(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    reading = ["--model", small_llama, "--context", CONTEXT, "--threads", 1]
    done = lab("collect", texts, "--layers", "0,1", "--out", tmp_path / "acts", "--held-out", 0.2, *reading)
    assert (done.exit_code, done.stdout) == (0, "")
    manifest = ActivationStore.open(tmp_path / "acts").manifest
    assert f"{manifest.tokens('train')} tokens for training" in done.stderr

    run = tmp_path / "run"
    made = recipe(tmp_path, data=str(tmp_path / "acts"), layer=1, save_dtype="float16")
    done = lab("train", made, "--out", run)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures == json.loads((run / "metrics.json").read_text())
    assert figures["tokens"] == manifest.tokens("held_out")
    assert figures["spliced"]["tokens"] > 0
    assert {"config.json", "train.log", "metrics.jsonl", "checkpoints", "sae"} <= {f.name for f in run.iterdir()}
    assert "saved" in (run / "train.log").read_text()
    again = lab("train", made, "--out", run, "--resume")
    assert json.loads(again.stdout)["fvu"] == pytest.approx(figures["fvu"], rel=0.01)

    done = lab("sae-figures", run / "sae", texts / "chats.jsonl", "--layer", 1, *reading)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["never_active"] <= 64


def test_training_on_a_stream_of_texts(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    stream = {"sources": [str(texts)], "model": str(small_llama), "context": CONTEXT, "held_out": 0.2}
    done = lab("train", recipe(tmp_path, stream=stream, layer=0, arch="topk"), "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["l0"] == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["collect", "none.jsonl", "--layers", "1", "--out", "x"], "none.jsonl: no such file or folder"),
        (["collect", "README.md", "--layers", "a", "--out", "x"], "--layers: a: expected whole numbers"),
        (["train", "none.yaml", "--out", "x"], "none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_work(arguments: list[str], message: str) -> None:
    done = lab(*arguments)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(message)
    assert not (ROOT / "x").exists()


def test_step_speed_compares_both_forward_passes() -> None:
    done = lab("step-speed", "--d-model", 8, "--width", 64, "--batch", 64, "--steps", 1)
    assert done.exit_code == 0, done.output
    kinds = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert kinds == [
        f"{a}, {p}" for a in ("batchtopk", "topk", "jumprelu", "matryoshka") for p in ("float32", "bfloat16")
    ]
    assert [", sparse " in line for line in done.stdout.splitlines()] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("missing", ["sae_lens", "torch"])
def test_a_missing_library_is_named_with_its_cure(missing: str, tmp_path: Path) -> None:
    hide = f"import sys; sys.argv[0] = 'latentwatch'; sys.modules['{missing}'] = None; "
    options = [str(recipe(tmp_path, layer=1, data=str(tmp_path))), "--out", str(tmp_path / "x")]
    done = subprocess.run(
        [sys.executable, "-c", hide + "from monitor.cli.app import main; main()", "lab", "train", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"error: the lab needs {missing}; run: pip install 'latentwatch[lab]'\n",
    )


def test_the_runtime_loads_nothing_of_the_lab() -> None:
    show = (
        "import sys, monitor.cli.app, monitor.pipeline, monitor.engine; "
        "print([m for m in sys.modules if m.startswith(('monitor.lab', 'sae_lens', 'datasets', 'torch'))])"
    )
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
