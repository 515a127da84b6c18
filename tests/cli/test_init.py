"""`latentwatch init`: from model, SAE and rows to a scan, and on after a failure in any step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.lab.setup.steps import Step
from monitor.sets.labels import load_labels
from monitor.sets.load import load_feature_set
from tests.lab.setup.inverting_sae import none, save_inverting_sae
from tests.lab.setup.tiny_inputs import CATEGORY, D_MODEL, TinyInputs, tiny_inputs, write_rows
from tests.tiny_bundle import LAYER

STEPS = ["fit", f"curate {CATEGORY}", f"label {CATEGORY}", "calibrate", f"report {CATEGORY}", "scan"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInputs:
    return tiny_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles stay in the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LATENTWATCH__READER__THREADS", "1")


def init(folder: Path, *options: object) -> Result:
    return CliRunner().invoke(app, ["init", str(folder), *map(str, options)])


def problems(result: Result) -> list[str]:
    assert isinstance(result.exception, ConfigError), result.output
    return list(result.exception.problems)


@pytest.mark.filterwarnings("default")  # of the libraries that fit and draw
def test_from_nothing_to_a_scan_with_a_failure_in_every_step(
    tiny: TinyInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, options = tmp_path / "mine", tiny.options()
    failing: Iterator[str | None] = iter([*STEPS, None])
    fails = next(failing)
    clear = Step.clear

    def stop(step: Step) -> None:
        """Before the step that fails now has done anything, but with what a killed one would leave."""
        clear(step)
        if step.name == fails:
            for path in step.owns:
                (path if path.suffix else path / "left").parent.mkdir(parents=True, exist_ok=True)
                (path if path.suffix else path / "left").write_text("half")
            raise ConfigError("no space left on device")

    monkeypatch.setattr(Step, "clear", stop)
    for number, name in enumerate(STEPS, start=1):
        result = init(folder, *options)
        assert problems(result) == ["no space left on device"]
        assert f"step {name} failed; correct the cause and go on with: latentwatch init {folder}" in result.stderr
        assert result.stderr.count("done before") == max(0, number - 2)
        fails, options = next(failing), []
    result = init(folder)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("done before") == len(STEPS) - 1
    assert "all steps are done" in result.stderr

    made = load_feature_set(folder / "sets" / f"{CATEGORY}.yaml")
    assert made.set.id == CATEGORY
    assert 0 < len(made.set.features) <= 3
    assert made.set.reader.layer == LAYER
    assert "reader" not in yaml.safe_load(made.path.read_text())
    assert made.set.calibration is not None
    assert (made.set.calibration.n, made.set.calibration.measured_n) == (12, 12)
    assert all(feature.label == f"sound {feature.index}" for feature in made.set.features)
    assert load_labels(folder / "sets" / "latents.json")[0].sae_sha256 == made.set.reader.sae.sha256
    rows = json.loads((folder / "report" / CATEGORY / "metrics.json").read_text())
    shipped = next(row for row in rows if row["detector"] == "shipped")
    assert (shipped["n_pos"], shipped["n_neg"]) == (12, 12)
    assert shipped["auroc"] > 0.9, "loud words are easy to tell"
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert {alert["set"]["id"] for alert in alerts} == {CATEGORY}

    again = init(folder)
    assert again.exit_code == 0
    assert again.stderr.count("done before") == len(STEPS)
    listed = init(folder, "--from", "calibrate", "--dry-run")
    assert [line.split(":")[1].strip() for line in listed.stderr.splitlines() if line.startswith("step ")] == [
        *(f"{name} (done)" for name in STEPS[:3]),
        *(f"{name} (to do)" for name in STEPS[3:]),
    ]
    assert "unknown" in problems(init(folder, "--from", "unknown"))[0]
    other = problems(init(folder, "--top", 4))
    assert other == [f"{folder}: top: the folder was made with 3, not 4; use another folder for that"]


def test_a_dry_run_lists_the_commands_and_writes_nothing(tiny: TinyInputs, tmp_path: Path) -> None:
    result = init(tmp_path / "mine", *tiny.options(), "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "mine").exists()
    assert result.stderr.count("(to do)") == len(STEPS)
    assert f"latentwatch lab curate --sae {tiny.sae} --layer {LAYER}" in result.stderr


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param({"model": "/nowhere"}, ["reader.model: /nowhere: no such folder"], id="no model"),
        pytest.param({"sae": "/nowhere"}, ["/nowhere: no such file or folder"], id="no SAE"),
        pytest.param({"layer": 0}, ["the SAE reads the residual stream after block 1"], id="another layer"),
        pytest.param({"target_fpr": 0.01}, ["needs 400 in all"], id="too few benign rows"),
        pytest.param({"model_id": "other"}, ["modelId: tiny, but the set reads other"], id="explanations of another"),
        pytest.param({"data": "loud"}, ["--data: loud: expected CATEGORY=FILE"], id="no category"),
        pytest.param({"data": None, "benign": None}, ["--data: missing", "--benign: missing"], id="nobody to ask"),
        pytest.param({"sae": "/nowhere", "benign": "/none"}, ["/nowhere: no such", "/none"], id="all at once"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    tiny: TinyInputs, tmp_path: Path, changes: dict[str, Any], wanted: list[str]
) -> None:
    found = problems(init(tmp_path / "mine", *tiny.options(**changes), "--dry-run"))
    assert len(found) == len(wanted)
    assert all(words in problem for words, problem in zip(wanted, found, strict=True)), found


def test_a_labelled_file_needs_both_labels(tiny: TinyInputs, tmp_path: Path) -> None:
    file = tmp_path / "risky.jsonl"
    write_rows(file, ({"response": f"KABOOM {n}", "label": 1} for n in range(9)))
    found = problems(init(tmp_path / "mine", *tiny.options(data=f"loud={file}")))
    assert found == [
        f"{file}: label: no row has label 0; a labelled file needs risky rows (1) and harmless ones that look "
        "similar (0)"
    ]


def test_an_sae_of_another_width_is_refused(tiny: TinyInputs, tmp_path: Path) -> None:
    narrow = save_inverting_sae(tmp_path / "narrow", none(D_MODEL // 2), LAYER)
    found = problems(init(tmp_path / "mine", *tiny.options(sae=narrow, neuronpedia=None, model_id=None)))
    assert found == [
        f"--sae {narrow}: the SAE reads activations of 16 channels, but the model has 32: it was trained on another "
        "model"
    ]


def test_an_sae_whose_files_name_no_block_needs_the_layer(tiny: TinyInputs, tmp_path: Path) -> None:
    silent = save_inverting_sae(tmp_path / "silent", none(D_MODEL), None)
    options = tiny.options(sae=silent)
    assert "--layer: missing" in problems(init(tmp_path / "mine", *options, "--dry-run"))[0]
    assert "blocks 0 to 2" in problems(init(tmp_path / "mine", *options, "--layer", 3, "--dry-run"))[0]


def test_a_folder_with_something_else_is_left_alone(tiny: TinyInputs, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert problems(init(tmp_path, *tiny.options())) == [
        f"{tmp_path}: the folder is not empty, and init did not make it; give a new one"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_terminal_is_asked_for_what_is_missing(
    tiny: TinyInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.cli.init._on_terminal", lambda: True)
    given = f"{tiny.model}\n{tiny.sae}\n{CATEGORY}={tiny.data}\n\n{tiny.benign}\n\n"
    options = ["init", str(tmp_path / "mine"), "--target-fpr", "0.2", "--dry-run"]
    result = CliRunner().invoke(app, options, input=given)
    assert result.exit_code == 0, result.output
    assert f"step 2 of 5: curate {CATEGORY} (to do)" in result.stderr
