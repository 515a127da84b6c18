"""What verdicts make of a label, and what a file of labels may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.lab.labelling.cards_page import cards_page
from monitor.lab.labelling.judging import KeyLine, Verdict, label_scores, load_verdicts, save_verdicts
from monitor.lab.labelling.label_file import read_names
from monitor.sets.feature_cards import CardContext, FeatureCard, Firing
from monitor.sets.labels import Labels, LabelScore, Name, load_labels

NAMES = {3: Name(label="lies")}
KEY = [KeyLine(f"q{n}", 3, "detection", "lies", n < 4) for n in range(8)]


def said(*right: bool, judge: str = "a") -> list[Verdict]:
    return [Verdict(line.id, line.answer == ok, judge) for line, ok in zip(KEY, right, strict=False)]


def test_the_score_is_the_mean_of_both_rates() -> None:
    score = label_scores(KEY, said(True, True, True, False, True, True, False, False), NAMES)[3]
    assert (score.detection, score.n) == ((0.75 + 0.5) / 2, 8)
    low, high = score.interval_95
    assert 0.3 < low < score.detection < high < 0.9
    # unequal sides: three of four that fire, and the one that does not
    assert label_scores(KEY[:5], said(True, True, True, False, True), NAMES)[3].detection == (0.75 + 1) / 2


def test_a_few_right_answers_are_not_a_sure_score() -> None:
    score = label_scores(KEY, said(*[True] * 8), NAMES)[3]
    assert score.detection == 1.0
    assert score.interval_95[0] < 0.9


def test_without_both_answers_there_is_no_score() -> None:
    assert label_scores(KEY, said(True, True), NAMES) == {}


def test_of_several_judges_the_majority_counts_and_a_tie_is_wrong() -> None:
    votes = [*said(*[True] * 8), *said(*[True] * 7, False, judge="b")]
    assert label_scores(KEY, votes, NAMES)[3].detection == (1 + 0.75) / 2
    assert label_scores(KEY, [*votes, *said(*[True] * 8, judge="c")], NAMES)[3].detection == 1.0


def test_verdicts_on_an_older_label_do_not_count() -> None:
    assert label_scores(KEY, said(*[True] * 8), {3: Name(label="half truths")}) == {}


def test_the_last_verdict_of_a_judge_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    kept = save_verdicts(path, [Verdict("q1", True, "a"), Verdict("q0", True, "b"), Verdict("q1", False, "a")])
    assert kept == [Verdict("q0", True, "b"), Verdict("q1", False, "a")]
    assert load_verdicts(path) == kept
    path.write_text('{"id": "q1", "verdict": "maybe"}\n')
    with pytest.raises(ConfigError, match=r"v\.jsonl:1: expected an id, and yes or no as verdict"):
        load_verdicts(path)


def test_names_are_read_from_csv_and_json_lines(tmp_path: Path) -> None:
    csv, jsonl = tmp_path / "a.csv", tmp_path / "a.jsonl"
    csv.write_text('index,label,note,false_friends\n3,"lies, small ones",seen,"jokes; fiction"\n4,,,\n')
    jsonl.write_text('{"index": 3, "label": "lies, small ones", "note": "seen", "false_friends": ["jokes", "fiction"]}')
    assert read_names(csv) == read_names(jsonl)
    assert read_names(csv)[3].false_friends == ("jokes", "fiction")


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"index": "x", "label": "a"}', '{"index": 1, "label": "a"}', '{"index": 1, "label": "b"}']
    path.write_text("\n".join([*lines, '{"index": 2, "name": "b"}', f'{{"index": 3, "label": "{"x" * 201}"}}']))
    with pytest.raises(ConfigError) as caught:
        read_names(path)
    starts = [f"{path}:1: index: x", f"{path}:3: index: 1 is named twice", f"{path}:4: name: unknown", f"{path}:5: "]
    assert len(caught.value.problems) == len(starts)
    assert all(p.startswith(s) for p, s in zip(caught.value.problems, starts, strict=True))


def test_the_file_of_labels_is_read_as_it_was_written(tmp_path: Path) -> None:
    score = LabelScore(detection=0.9, n=20, interval_95=(0.7, 0.97))
    labels = Labels(
        evidence="e", sae_sha256="b" * 64, labels={3: 'tokens "a"'}, names={3: Name(label="é", score=score)}
    )
    labels.save(tmp_path / "latents.json")
    assert load_labels(tmp_path / "latents.json")[0] == labels
    assert labels.of(3) == {"label": "é", "label_score": 0.9}
    assert labels.of(4) == {}


def test_the_page_of_cards_shows_names_and_escapes_texts() -> None:
    context = CardContext(file="f", row="r", tokens=(("a <script> ", 0.1), (" *lies*", 4.0)))
    card = FeatureCard(
        index=3, sae_sha256="b" * 64, contexts=(context,), firing={"benign": Firing(texts=0.25, tokens=0, n=8)}
    )
    page = cards_page({3: card}, Labels(names={3: Name(label="small lies", false_friends=("jokes",))}))
    assert '<a id="feature-3"></a>' in page
    assert "## 3: small lies" in page
    assert "- Not: jokes" in page
    assert "- Active on 25.0% of 8 benign texts" in page
    assert r"> a \<script\> <b>\*lies\*</b>" in page
