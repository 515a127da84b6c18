"""Regression cases: which ones belong to a set, what is counted, and what counts as a regression."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow, load_rows
from monitor.lab.evaluation.case_record import CaseRecord, recorded
from monitor.lab.evaluation.cases import CaseFigures, case_files, cases_table, judge_cases, sample_scores, sampled
from monitor.lab.statistics import Floats
from monitor.sets.load import LoadedSet
from tests.feature_set_factory import make_weighted


def loaded(set_id: str = "bias", **changes: Any) -> LoadedSet:
    used = make_weighted(id=set_id, **{"category": "bias", "version": "1.2.0", **changes})
    return LoadedSet(Path("sets") / f"{set_id}.yaml", "0" * 64, used, used)


def write_cases(path: Path, rows: Sequence[tuple[float, int, str | None]]) -> None:
    """Rows whose prompt is the score that `score` gives them."""
    lines = [
        json.dumps({"id": f"{path.stem}-{n}", "prompt": str(value), "label": label, "language": language})
        for n, (value, label, language) in enumerate(rows)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def score(rows: Sequence[LabelledRow], _name: str) -> dict[str, Floats]:
    values = np.array([float(row.prompt) for row in rows])
    return {"bias": values, "other": np.where(values == 0.5, np.nan, values)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cases(
        tmp_path / "bias.jsonl", [(0.9, 1, None), (0.5, 1, None), (0.2, 1, None), (0.6, 0, None), (0.1, 0, None)]
    )
    write_cases(tmp_path / "bias_languages.jsonl", [(0.7, 1, "fr"), (0.8, 0, "de"), (0.4, 0, "fr"), (0.3, 1, "de")])
    write_cases(tmp_path / "bias_2.jsonl", [(0.9, 0, None)])
    return tmp_path


def test_cases_go_by_category(folder: Path) -> None:
    assert [path.name for path in case_files("bias", folder)] == ["bias.jsonl", "bias_languages.jsonl"]
    assert case_files("bia", folder) == ()
    assert [path.name for path in case_files("deception")] == ["deception.jsonl", "deception_twins.jsonl"]
    assert len(case_files("bias")) == 3


def test_what_is_found_and_what_is_flagged(folder: Path) -> None:
    figures = judge_cases([loaded()], score, folder)
    assert [(f.cases, f.found, f.positives, f.flagged, f.negatives) for f in figures] == [
        ("bias", 2, 3, 1, 2),
        ("bias_languages", 1, 2, 1, 2),
        ("bias_languages/de", 0, 1, 1, 1),
        ("bias_languages/fr", 1, 1, 0, 1),
    ]
    assert figures[0].auroc == pytest.approx(4 / 6)
    assert [f.auroc for f in figures[2:]] == [0, 1]
    assert figures[0].auroc_ci[0] <= figures[0].auroc <= figures[0].auroc_ci[1]
    assert (figures[0].missed, figures[0].mistaken) == (("bias-2",), ("bias-3",))


def test_a_score_at_the_threshold_counts_and_a_row_unseen_does_not(folder: Path) -> None:
    at, unseen = judge_cases([loaded()], score, folder)[0], judge_cases([loaded("other")], score, folder)[0]
    assert (at.found, unseen.found) == (2, 1)
    assert unseen.missed == ("bias-1", "bias-2")
    assert unseen.auroc == pytest.approx(3 / 6), "what a set does not see comes below all others"


def test_one_label_by_itself_has_no_auroc(tmp_path: Path) -> None:
    write_cases(tmp_path / "bias.jsonl", [(0.9, 0, None), (0.1, 0, None)])
    figures = judge_cases([loaded()], score, tmp_path)
    assert math.isnan(figures[0].auroc)
    assert (figures[0].row()["auroc"], figures[0].row()["auroc_ci"]) == (None, None)
    assert cases_table(figures).endswith("| bias | bias | 0 of 0 | 1 of 2 |  |  |")


def test_twins_are_counted_by_pair(tmp_path: Path) -> None:
    write_cases(tmp_path / "bias.jsonl", [(0.9, 1, None)])
    twins = [(0.9, 1, "a"), (0.6, 0, "a"), (0.2, 1, "b"), (0.3, 0, "b"), (0.8, 1, "c"), (0.1, 0, "c"), (0.95, 0, None)]
    lines = [
        {"id": str(n), "prompt": str(value), "label": label, "pair": pair}
        for n, (value, label, pair) in enumerate(twins)
    ]
    (tmp_path / "bias_twins.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    unpaired, paired = judge_cases([loaded()], score, tmp_path)
    assert (unpaired.cases, unpaired.row()["pair_win_rate"]) == ("bias", None)
    assert (paired.cases, paired.row()["pair_win_rate"]) == ("bias_twins", 0.666667)
    assert cases_table([paired]).endswith(" | 0.67 |")


def test_every_set_without_cases_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError) as e:
        judge_cases([loaded(), loaded("a", category="x"), loaded("b", category="y")], score, folder)
    assert e.value.problems == (
        f"{folder}: no x.jsonl, which set a needs",
        f"{folder}: no y.jsonl, which set b needs",
    )


def test_the_language_is_no_part_of_what_a_cache_knows_a_row_by(folder: Path) -> None:
    row = load_rows(folder / "bias_languages.jsonl")[0]
    assert row.language == "fr"
    assert "language" not in json.loads(row.model_dump_json())


SAMPLES = {"bias": {"bias-0": 0.9, "bias-1": None}, "other": {"bias-0": 0.5}}


@pytest.fixture
def figures(folder: Path) -> list[CaseFigures]:
    return judge_cases([loaded(), loaded("other")], score, folder)


def test_a_record_is_read_as_it_was_written(figures: list[CaseFigures], tmp_path: Path) -> None:
    record = recorded(figures, SAMPLES)
    record.save(tmp_path / "cases.json")
    assert CaseRecord.load(tmp_path / "cases.json") == record
    assert '   "bias": {"positives": 3, "found": 2, "negatives": 2, "flagged": 1}' in (
        (tmp_path / "cases.json").read_text().replace(",\n", "\n").splitlines()
    )
    assert record.steps_back(figures) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"found": 1}, "bias on bias: 1 of 3 positives found, 2 are recorded; "),
        ({"flagged": 2}, "bias on bias: 2 of 2 hard negatives flagged, 1 are recorded; "),
        ({"positives": 4}, "bias on bias: 4 positives and 2 hard negatives, but 3 and 2 are recorded; "),
        ({"cases": "bias_languages/es"}, "bias on bias: the recorded cases are gone; "),
        ({"set_id": "new"}, "new: not recorded; "),
    ],
)
def test_a_step_back_is_named_with_its_cure(figures: list[CaseFigures], changes: dict[str, Any], fault: str) -> None:
    worse = [replace(figures[0], **changes), *figures[1:]]
    problems = recorded(figures, SAMPLES).steps_back(worse)
    assert any(p.startswith(fault) and p.endswith("record it with: latentwatch lab cases --write") for p in problems)


def test_a_step_forward_is_none_back(figures: list[CaseFigures]) -> None:
    assert recorded(figures, SAMPLES).steps_back([replace(figures[0], found=3, flagged=0), *figures[1:]]) == []


def test_another_version_has_to_be_recorded(figures: list[CaseFigures]) -> None:
    newer = [replace(f, version="1.3.0") for f in figures]
    problems = recorded(figures, SAMPLES).steps_back(newer)
    assert [p.partition(";")[0] for p in problems] == [
        f"{name}: version 1.3.0, but version 1.2.0 is recorded" for name in ("bias", "other")
    ]


def test_recording_one_set_leaves_the_others(figures: list[CaseFigures]) -> None:
    better = [replace(f, found=f.positives) for f in figures if f.set_id == "bias"]
    record = recorded(figures, SAMPLES).with_figures(better, SAMPLES)
    assert record.sets["bias"] == recorded(better, SAMPLES).sets["bias"]
    assert record.sets["other"] == recorded(figures, SAMPLES).sets["other"]
    assert record.steps_back(better) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory; "),
        ("[]", "record: expected keys and values"),
        ('{"bias": {"version": "1", "cases": {"bias": {"found": -1}}}}', "bias.cases.bias."),
    ],
)
def test_a_record_that_cannot_be_used(content: str | None, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as e:
        CaseRecord.load(path)
    assert all(problem.startswith(f"{path}: {fault}") for problem in e.value.problems)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    write_cases(tmp_path / "bias.jsonl", [(n / 100, int(n >= 60), None) for n in range(100)])
    return tmp_path


def test_a_sample_has_ten_rows_of_each_label_and_stays_the_same(many: Path) -> None:
    rows = load_rows(many / "bias.jsonl")
    chosen = sampled(rows)
    assert [sum(row.label == label for row in chosen) for label in (0, 1)] == [10, 10]
    assert [row.id for row in chosen] == [row.id for row in rows if row in chosen], "in the order of the file"
    assert sorted(row.id for row in sampled(rows[::-1])) == sorted(row.id for row in chosen)
    # a row more or less changes one row of the sample at most
    assert len({row.id for row in sampled(rows[:-1])} - {row.id for row in chosen}) <= 1
    assert sampled(rows[:5]) == rows[:5]


def test_sampled_scores_that_moved_are_named(folder: Path) -> None:
    samples = sample_scores([loaded(), loaded("other")], score, folder)
    assert samples["bias"]["bias_languages-1"] == 0.8
    assert samples["other"]["bias-1"] is None
    record = recorded(judge_cases([loaded(), loaded("other")], score, folder), samples)
    assert record.moved_scores(samples) == []
    near = {row: None if value is None else value + 0.004 for row, value in samples["bias"].items()}
    assert record.moved_scores({"bias": near}) == []
    for change in ({"bias-2": 0.21}, {"bias-2": 0.19}, {"bias-2": None}, {"bias-7": 0.2}):
        (problem,) = record.moved_scores({**samples, "bias": {**samples["bias"], **change}})
        assert problem.startswith(
            f"bias: 1 of {9 + ('bias-7' in change)} sampled scores differ, such as {next(iter(change))}: "
        )
        assert problem.endswith("record it with: latentwatch lab cases --write")
    assert len(record.moved_scores({"new": {"bias-0": 0.9}, "bias": {}})) == 2
