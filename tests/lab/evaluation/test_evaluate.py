"""Evaluation and calibration with the real model, on a few of the project's own rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from monitor.assembly.build import build_engine
from monitor.config.sections import Config
from monitor.lab.data.chosen_sets import with_sets
from monitor.lab.data.rows import load_benign
from monitor.lab.evaluation.evaluate import SHIPPED, EvaluationRequest, EvaluationResult, evaluate
from monitor.lab.evaluation.evaluation_run import write_run
from monitor.lab.reading.row_reader import RowReader
from monitor.lab.run_folder import new_run_folder
from monitor.sets.load import builtin_folder

pytestmark = pytest.mark.model

OWN = (builtin_folder() / "contrasts" / "bias.jsonl").read_text().splitlines()
FITTED = {"single_feature", "weighted", "dense_probe", "word_only"}
CHAT = [
    {"id": f"c{n}", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"},
     {"role": "user", "content": asked}], "response": said}
    for n, (asked, said) in enumerate(
        [("What boils first?", "Alcohol, at 78 degrees."), ("A word for glad?", "Happy."), ("Thanks", "Any time.")]
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pairs to judge, others to fit on (of which one pair is judged, too), and chat as the sidecar sees it."""
    folder = tmp_path_factory.mktemp("rows")
    by_label = {label: [row for row in OWN[20:40] if json.loads(row)["label"] == label] for label in (0, 1)}
    lines = {"judged": OWN[:12], "train": OWN[10:40], "chat": [json.dumps(event) for event in CHAT]}
    lines |= {"first": by_label[0], "second": [*by_label[1], *OWN[10:12]]}
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return {name: folder / f"{name}.jsonl" for name in lines}


@pytest.fixture(scope="module")
def request_(files: dict[str, Path]) -> EvaluationRequest:
    return EvaluationRequest(("bias",), (files["judged"],), (files["chat"],), (files["train"],), peers=False, seed=3)


@pytest.fixture(scope="module")
def result(request_: EvaluationRequest) -> EvaluationResult:
    return evaluate(request_, Config(), Console(quiet=True))


def test_every_detector_has_a_row(result: EvaluationResult, files: dict[str, Path]) -> None:
    assert {f.detector for f in result.figures} == {SHIPPED} | FITTED
    for figures in result.figures:
        row = figures.row()
        assert (row["set"], row["file"], row["source"]) == ("bias", str(files["judged"]), "own")
        assert (row["n_pos"], row["n_neg"], figures.n_pairs, figures.n_benign) == (6, 6, 6, 3)
        assert 0 <= row["auroc"] <= 1
        assert row["auroc_ci"][0] <= row["auroc"] <= row["auroc_ci"][1]
        assert row["pair_win_rate"] is not None
        assert (row["fpr_at_shipped_threshold"] is None) == (figures.detector != SHIPPED)


def test_no_judged_row_is_fitted_on(result: EvaluationResult) -> None:
    assert "train.jsonl: 2 training rows dropped, because they or their twins are evaluated on" in result.notes


def test_all_own_files_of_the_category_train(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.lab.evaluation.evaluate.own_contrasts", lambda _: (files["first"], files["second"]))
    found = evaluate(EvaluationRequest(("bias",), (files["judged"],), peers=False), Config(), Console(quiet=True))
    assert {f.detector for f in found.figures} == {SHIPPED} | FITTED, "only both files together have both labels"
    notes = [note for note in found.notes if "rows dropped" in note]
    assert notes == ["second.jsonl: 2 training rows dropped, because they or their twins are evaluated on"]


def test_the_shipped_score_is_that_of_the_sidecar(result: EvaluationResult, files: dict[str, Path]) -> None:
    config = with_sets(Config.model_validate({"reader": {"engine": "torch"}}), ["bias"])
    reader = RowReader(config, Console(quiet=True))
    shipped = next(j for j in result.detector_scores if j.detector == SHIPPED)
    assert shipped.threshold is not None
    alerts = list(
        build_engine(config, reader.artefacts).evaluate([row.event(n) for n, row in enumerate(shipped.file.rows)])
    )
    assert [bool(e.alerts) for e in alerts] == list(shipped.scores >= shipped.threshold)
    for evaluation, score in zip(alerts, shipped.scores, strict=True):
        for alert in evaluation.alerts:
            assert alert.score == pytest.approx(score, abs=1e-4)
    chat = load_benign(files["chat"])
    table = reader.table(chat, "chat")
    assert list(table.segment[table.row == 0]) == ["user", "assistant", "user", "response"]
    assert np.isfinite(reader.scores(chat, "chat")["bias"]).all()


def test_the_run_folder_holds_everything(result: EvaluationResult, request_: EvaluationRequest, tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path / "run")
    write_run(folder, request_, result, "0" * 64)
    names = {path.name for path in folder.iterdir()}
    plots = {f"{kind}-bias-judged.{end}" for kind in ("roc", "scores") for end in ("png", "svg")}
    assert names == {"config.json", "log.txt", "metrics.json", "report.md"} | plots
    report = (folder / "report.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in metrics:
        assert f"| {row['detector']} | 6 / 6 | {row['auroc']:.2f} (" in report
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 3
    assert list(config["sets"]) == ["bias"]
    assert (folder / "log.txt").read_text().count("\n") == len(result.notes) + len(result.rows)
