"""`latentwatch lab`: loaded only on demand, with a clear message if something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.sets.load import builtin_folder
from tests.cli.test_app import ENTRY, errors, latentwatch
from tests.shipped_sets import copy_set, shipped_set

WITHOUT_SKLEARN = f"import sys; sys.modules['sklearn'] = None; {ENTRY}"


def test_the_runtime_never_loads_the_lab() -> None:
    code = (
        "import sys, monitor.cli.app, typer; monitor.cli.app.app(['version'], standalone_mode=False); "
        "sys.exit(any(name.startswith('monitor.lab') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_missing_extra_is_said_with_the_command(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "label": 1, "prompt": "p"}\n')
    for command in (["evaluate", "--data"], ["calibrate", "--benign"]):
        arguments = ["lab", *command, str(rows), "--set", "bias"]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_SKLEARN, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr == "error: the lab needs sklearn; run: pip install 'latentwatch[lab]'\n"


def test_help_needs_no_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SKLEARN, "lab", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "evaluate" in done.stdout


def test_faults_in_what_is_given_are_2(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "label": 1, "prompt": "p"}\n{"id": "b", "label": "x", "prompt": "p"}\n')
    done = latentwatch("lab", "evaluate", "--set", "bias", "--data", str(rows))
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == [f"error: {rows}:2: label: Input should be 0 or 1"]
    done = latentwatch("lab", "evaluate", "--set", "nope", "--data", str(rows))
    assert done.returncode == 2
    assert "neither a YAML file nor the id or category of a set" in errors(done)[0]
    done = latentwatch("lab", "evaluate", "--set", "bias", "--data", str(rows), "--out", str(tmp_path))
    assert errors(done) == [f"error: --out {tmp_path}: the folder is not empty; every run needs a folder of its own"]
    done = latentwatch("lab", "calibrate", "--set", "bias", "--benign", str(rows), "--target-fpr", "1.5")
    assert errors(done) == ["error: --target-fpr: must be above 0 and below 0.5"]


def test_only_the_own_cases_are_recorded(tmp_path: Path) -> None:
    done = latentwatch("lab", "cases", "--cases", str(tmp_path), "--write")
    assert (done.returncode, done.stdout) == (2, "")
    assert errors(done) == ["error: --write: only the project's own cases are recorded; drop --cases"]


@pytest.mark.model
def test_cases_are_counted_recorded_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from monitor.cli.app import app

    own = copy_set("bias", tmp_path / "sets")
    cases = tmp_path / "feature_sets" / "cases" / "bias.jsonl"
    cases.parent.mkdir(parents=True)
    lines = (builtin_folder() / "cases" / "bias.jsonl").read_text().splitlines()
    cases.write_text("".join(f"{line}\n" for line in (*lines[:4], *lines[-4:])))
    monkeypatch.setattr("monitor.lab.evaluation.cases.builtin_folder", lambda: tmp_path / "feature_sets")

    figures = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["lab", "cases", "--set", str(own), "--json", str(figures), "--write"])
    assert done.exit_code == 0, done.output
    [row] = json.loads(figures.read_text())
    counts = {name: row[name] for name in ("positives", "found", "negatives", "flagged")}
    assert counts["positives"] + counts["negatives"] == 8
    assert len(row["missed"]) == row["positives"] - row["found"]
    assert (
        f"| bias | bias | {row['found']} of {row['positives']} | {row['flagged']} of {row['negatives']} |"
        in done.stdout
    )
    record = own.with_name("cases.json")
    written = json.loads(record.read_text())["bias"]
    assert (written["version"], written["cases"]) == (row["version"], {"bias": counts})
    assert written["sample"].keys() == {json.loads(line)["id"] for line in cases.read_text().splitlines()}

    better = counts | {"found": counts["found"] + 1, "flagged": counts["flagged"]}
    record.write_text(json.dumps({"bias": {**written, "cases": {"bias": better}}}))
    done = CliRunner().invoke(app, ["lab", "cases", "--set", str(own)])
    assert done.exit_code == 1
    assert f"error: bias on bias: {row['found']} of {row['positives']} positives found" in done.stderr


@pytest.mark.model
def test_calibrate_prints_a_diff_and_applies_it_only_when_asked(tmp_path: Path) -> None:
    from monitor.sets.load import load_feature_set

    path = copy_set("bias", tmp_path)
    before = path.read_text()
    benign = tmp_path / "benign.jsonl"
    nouns = ["tea", "rice", "rain", "bread", "maps", "trains", "salt", "birds", "soap", "chess"]
    rows = [{"id": noun, "prompt": f"Tell me about {noun}.", "response": f"Gladly: {noun}!"} for noun in nouns]
    benign.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["lab", "calibrate", "--set", str(path), "--benign", str(benign), "--target-fpr", "0.2"]
    done = latentwatch(*arguments)
    assert (done.returncode, path.read_text()) == (0, before)
    assert done.stdout.startswith(f"--- {path}\n+++ {path}\n")
    assert f"-threshold: {shipped_set('bias').set.threshold}\n" in done.stdout
    assert latentwatch(*arguments, "--write").stdout == done.stdout, "the same seed, the same threshold"
    used = load_feature_set(path).set
    assert used.calibration is not None
    assert (used.calibration.target_fpr, used.calibration.n, used.calibration.measured_n) == (0.2, 5, 5)
    assert f"+threshold: {used.threshold}\n" in done.stdout
