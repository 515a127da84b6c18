"""Pooling, ranking, thresholds and contexts on made-up activations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.pooling import pool
from monitor.auroc import auroc
from monitor.lab.curation.candidates import lowest_threshold
from monitor.lab.curation.contexts import EACH, contexts_of
from monitor.lab.curation.ranking import cohens_d, rank
from monitor.lab.reading.shard_pooling import POOLINGS, pooled
from monitor.lab.reading.sharded_texts import ShardedTexts
from monitor.lab.reading.token_shards import SHARD_ROWS, TokenShard
from monitor.lab.statistics import column_aurocs, length_matched_auroc, length_matched_aurocs
from tests.lab.shards import shard_of, sharded

Text = NDArray[np.float32]


def _text(tokens: int, width: int = 3) -> Text:
    return np.zeros((tokens, width), np.float32)


def test_pooling_is_that_of_the_detectors() -> None:
    draw = np.random.default_rng(0)
    texts = [draw.random((n, 9)).astype(np.float32) * (draw.random((n, 9)) > 0.7) for n in (1, 3, 20, 7, 40)]
    for name, found in pooled(shard_of(texts), 2, 8).items():
        expected = [pool(text, POOLINGS[name])[2:8] for text in texts]
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


def test_columns_have_the_figures_of_each_column() -> None:
    draw = np.random.default_rng(1)
    labels, tokens = draw.integers(0, 2, 80), draw.integers(5, 30, 80)
    scores = draw.integers(0, 6, (80, 4)) + labels[:, None]
    by_column = [(scores[:, n].astype(float)) for n in range(4)]
    expected = [auroc(c[labels == 1], c[labels == 0]) for c in by_column]
    np.testing.assert_allclose(column_aurocs(scores, labels), expected)
    expected = [length_matched_auroc(c, labels, tokens) for c in by_column]
    np.testing.assert_allclose(length_matched_aurocs(scores, labels, tokens), expected)
    assert np.isnan(column_aurocs(scores, np.ones(80, int))).all()


def test_a_latent_that_measures_length_falls(tmp_path: Path) -> None:
    """Latent 0 is stronger the longer the text, and risky texts are longer; latent 1 knows the label, not always."""
    draw = np.random.default_rng(2)
    texts, labels = [], []
    for n in range(200):
        label = n % 2
        text = _text(int(draw.integers(20, 60) + 25 * label))
        text[0, 0] = text.shape[0] ** 2
        if draw.random() < (0.6 if label else 0.1):
            text[1, 1] = 5.0
        texts.append(text)
        labels.append(label)
    quiet = sharded(tmp_path, "benign", [_text(30) for _ in range(100)], [0] * 100)
    ranking = rank([sharded(tmp_path, "own", texts, labels)], quiet, 3, "max")
    length, honest = ranking.of(0), ranking.of(1)
    assert length.auroc["max"] > honest.auroc["max"] + 0.05, "without regard to length it would have come first"
    assert length.length_matched_auroc < 0.7
    assert [f.latent for f in ranking.best(1)] == [1]
    assert honest.length_matched_auroc == pytest.approx(honest.auroc["max"], abs=0.05)


def test_latents_that_disagree_or_are_loud_fall(tmp_path: Path) -> None:
    """Latent 0 is right in one source and wrong in the other, 1 is right in both, 2 as well but on benign texts too."""
    sources = []
    for name, right in (("first", 1), ("second", 0)):
        texts = []
        for n in range(60):
            text, label = _text(10), n % 2
            text[2, 0] = 9.0 * (label == right)
            text[3, 1] = text[4, 2] = float(label)
            texts.append(text)
        sources.append(sharded(tmp_path, name, texts, [n % 2 for n in range(60)]))
    loud = [_text(10) for _ in range(80)]
    for text in loud[:60]:
        text[0:2, 2] = 0.5
    ranking = rank(sources, sharded(tmp_path, "benign", loud, [0] * 80), 3, "max")
    assert [(f.latent, f.score) for f in ranking.best(3)] == [(1, 1.0), (2, 0.25)]
    assert ranking.of(0).auroc_by_source == {"first": 1.0, "second": 0.0}
    assert (ranking.of(0).worst_auroc, ranking.of(1).agreement) == (0.0, 1.0)
    assert (ranking.of(2).benign_texts, ranking.of(2).benign_tokens) == (0.75, 0.15)


def test_agreement_counts_sources_on_the_side_of_the_mean(tmp_path: Path) -> None:
    sources = []
    for name, height in (("a", 1.0), ("b", 1.0), ("c", -0.5)):
        texts = [_text(4) for _ in range(40)]
        for n, text in enumerate(texts):
            text[0, 0] = 2.0 + height * (n % 2)
        sources.append(sharded(tmp_path, name, texts, [n % 2 for n in range(40)]))
    assert rank(sources, sharded(tmp_path, "z", [_text(4)] * 5, [0] * 5), 3, "max").of(0).agreement == pytest.approx(
        2 / 3
    )


def test_cohens_d_of_a_worked_example() -> None:
    values = np.array([[2.0, 1], [4.0, 1], [6.0, 1], [1.0, 1], [3.0, 1], [5.0, 1]], np.float32)
    labels = np.array([1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(cohens_d(values, labels), [0.5, 0.0])  # means 4 and 3, both deviations 2


@pytest.mark.parametrize(
    ("benign", "risky", "fpr", "expected"),
    [
        ([0, 0, 0, 0], [0, 3, 5], 0.25, 1.5),  # nothing benign: half way to the first that is risky
        ([0, 1, 2, 3], [8, 9], 0.25, 2.5),  # one of four may pass
        ([0, 1, 2, 3], [8, 9], 0.1, 5.5),  # none may
        ([0, 1, 1, 1], [1, 2], 0.5, 1.5),  # all that tie stay out
        ([0, 1, 4, 4], [1, 2], 0.1, 4.2),  # nothing is stronger than what must stay out
    ],
)
def test_thresholds(benign: list[float], risky: list[float], fpr: float, expected: float) -> None:
    found = lowest_threshold(np.array(benign, np.float32), np.array(risky, np.float32), fpr)
    assert found == pytest.approx(expected)
    assert np.mean(np.array(benign) >= found) <= fpr


def test_contexts_are_strong_middling_and_drawn(tmp_path: Path) -> None:
    texts = []
    for n in range(100):
        text = _text(60)
        text[40, 1] = n + 1.0
        texts.append(text)
    words = [f"{n % 90 + 10}" for n in range(60)]
    source = sharded(tmp_path, "own", texts, [n % 2 for n in range(100)], words)
    for row in source.rows:  # texts that are the same would be shown once
        object.__setattr__(
            row, "response", row.response[:102] + f"{int(row.id.split('-')[1]):02d}" + row.response[104:]
        )
    benign = sharded(tmp_path, "benign", [_text(5)] * 3, [0] * 3)
    (found,) = contexts_of([1], [source], benign, seed=0)
    (again,) = contexts_of([1], [source], benign, seed=0)
    assert found.drawn == again.drawn
    assert [c.activation for c in found.strongest] == [100 - n for n in range(EACH)]
    assert all(44 <= c.activation <= 56 for c in found.middle)
    assert len(found.drawn) == EACH
    assert found.strongest[0].side == "risky"
    assert found.strongest[1].side == "harmless"
    first = found.strongest[0]
    assert (first.cut_before, first.cut_after, first.token) == (True, True, words[40])
    assert [(run.text, run.strength) for run in first.runs if run.strength] == [(words[40], 1.0)]
    assert sum(run.text.count(" ") for run in first.runs) == 36
    assert found.histogram.counts["risky"].sum() == 50
    assert found.histogram.counts["benign"].sum() == 0
    assert found.label == f'tokens "{words[40]}"'


def test_a_shard_of_which_nothing_is_looked_at_is_passed_over(tmp_path: Path) -> None:
    texts = [_text(4) for _ in range(SHARD_ROWS + 3)]
    texts[-1][2, 1] = 7.0
    labels = [0] * SHARD_ROWS + [1, 0, 1]
    whole = sharded(tmp_path, "own", texts, labels)
    first = TokenShard.load(tmp_path / "own-0.npz")
    replace(first, segment=np.array(["user"] * SHARD_ROWS)).save(tmp_path / "own-0.npz")
    files = [tmp_path / "own-0.npz", tmp_path / "own-1.npz"]
    half = ShardedTexts("own", whole.rows, files, ("response",))
    assert (len(half.rows), half.unseen) == (3, SHARD_ROWS)
    (found,) = contexts_of([1], [half], sharded(tmp_path, "benign", [_text(4)], [0]), seed=0)
    assert [(c.row, c.activation) for c in found.strongest] == [(f"own-{SHARD_ROWS + 2}", 7.0)]
    assert half.active_tokens([1])[1].shard.tolist() == [1]
