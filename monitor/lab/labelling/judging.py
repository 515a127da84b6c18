"""Judging: blind questions about the labels of a set, the key to them, and the scores that verdicts give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from monitor.errors import ConfigError
from monitor.lab.labelling.held_back import Kind
from monitor.lab.labelling.jsonl import read_lines, write_lines
from monitor.sets.labels import LabelScore, Name

MAX_QUESTIONS = 200_000
_DRAWS = 20_000
_ANSWERS = {"yes": True, "no": False, "true": True, "false": False}


@dataclass(frozen=True)
class Question:
    """What a judge sees: nothing of it says which latent is meant or what is right."""

    id: str
    kind: Kind
    label: str
    text: str


@dataclass(frozen=True)
class KeyLine:
    """What the right answer is. It holds no text, so that it may lie next to the set."""

    id: str
    index: int
    kind: Kind
    label: str
    answer: bool


@dataclass(frozen=True)
class Verdict:
    """What a judge said."""

    id: str
    verdict: bool
    judge: str


def questions(held_back: Path, names: Mapping[int, Name]) -> tuple[list[Question], list[KeyLine]]:
    """The questions about the latents that have a name, in an order that says nothing, and the key to them.

    `held_back` is the file of `lab label export`. Raises ConfigError if a line of it can't be used.
    """
    asked: list[Question] = []
    key: list[KeyLine] = []
    for where, line in read_lines(held_back, MAX_QUESTIONS):
        index, kind, answer, text = (line.get(name) for name in ("index", "kind", "answer", "text"))
        known = isinstance(index, int) and kind in get_args(Kind) and isinstance(answer, bool) and isinstance(text, str)
        if not known or not isinstance(line.get("id"), str):
            raise ConfigError(f"{where}: expected id, index, kind, answer and text, as lab label export writes them")
        name = names.get(line["index"])
        if name is not None:
            asked.append(Question(line["id"], line["kind"], name.label, line["text"]))
            key.append(KeyLine(line["id"], line["index"], line["kind"], name.label, line["answer"]))
    order = sorted(range(len(asked)), key=lambda n: hashlib.sha256(asked[n].id.encode()).digest())
    return [asked[n] for n in order], sorted(key, key=lambda one: (one.index, one.id))


def save_sheet(path: Path, asked: Sequence[Question]) -> None:
    """The sheet for judges."""
    write_lines(path, map(asdict, asked))


def save_key(path: Path, key: Sequence[KeyLine]) -> None:
    """The key."""
    write_lines(path, map(asdict, key))


def load_key(path: Path) -> list[KeyLine]:
    """The key. Raises ConfigError if it can't be read."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; make the questions first, with --held-back")
    return [_built(where, line) for where, line in read_lines(path, MAX_QUESTIONS)]


def load_verdicts(path: Path) -> list[Verdict]:
    """Verdicts with id, verdict (yes or no) and maybe judge. Lines without a verdict are left out."""
    found = []
    for where, line in read_lines(path, 10 * MAX_QUESTIONS):
        verdict = line.get("verdict")
        if verdict in (None, ""):
            continue
        answer = _ANSWERS.get(str(verdict).strip().lower())
        if answer is None or not isinstance(line.get("id"), str):
            raise ConfigError(f"{where}: expected an id, and yes or no as verdict")
        found.append(Verdict(line["id"], answer, str(line.get("judge") or path.stem)))
    return found


def save_verdicts(path: Path, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Writes the last verdict of each judge on each question, in a fixed order, and returns them."""
    last = {(one.id, one.judge): one for one in verdicts}
    kept = [last[place] for place in sorted(last)]
    write_lines(path, ({"id": v.id, "verdict": "yes" if v.verdict else "no", "judge": v.judge} for v in kept))
    return kept


def label_scores(
    key: Sequence[KeyLine], verdicts: Sequence[Verdict], names: Mapping[int, Name]
) -> dict[int, LabelScore]:
    """The score of every name that has verdicts on contexts with and without its latent.

    Of several judges of a question, the majority counts, and a tie as wrong. Questions about a label that the latent
    no longer has don't count.
    """
    said: dict[str, list[bool]] = {}
    for verdict in verdicts:
        said.setdefault(verdict.id, []).append(verdict.verdict)
    right: dict[tuple[int, Kind], list[tuple[bool, bool]]] = {}  # (answer, whether it was found)
    for line in key:
        name, votes = names.get(line.index), said.get(line.id)
        if name is not None and name.label == line.label and votes:
            found = sum(vote == line.answer for vote in votes) * 2 > len(votes)
            right.setdefault((line.index, line.kind), []).append((line.answer, found))
    scores = {}
    for index in sorted({index for index, _ in right}):
        detection = _accuracy(right.get((index, "detection"), []))
        fuzzing = _accuracy(right.get((index, "fuzzing"), []))
        if detection is not None:
            scores[index] = LabelScore(
                detection=detection.value,
                n=detection.n,
                interval_95=detection.interval_95,
                fuzzing=None if fuzzing is None else fuzzing.value,
                fuzzing_n=0 if fuzzing is None else fuzzing.n,
                fuzzing_interval_95=None if fuzzing is None else fuzzing.interval_95,
            )
    return scores


@dataclass(frozen=True)
class _Accuracy:
    value: float
    n: int
    interval_95: tuple[float, float]


def _accuracy(found: Sequence[tuple[bool, bool]]) -> _Accuracy | None:
    """Balanced accuracy over (answer, whether it was found); None if one of the two answers is missing.

    The interval has both rates with Jeffreys' prior, so that a few right answers don't make a sure score.
    """
    sides = [[ok for answer, ok in found if answer is side] for side in (True, False)]
    if not all(sides):
        return None
    value = sum(sum(side) / len(side) for side in sides) / 2
    rng = np.random.default_rng(0)
    draws = sum(rng.beta(sum(side) + 0.5, len(side) - sum(side) + 0.5, _DRAWS) for side in sides) / 2
    low, high = np.quantile(draws, (0.025, 0.975))
    return _Accuracy(round(value, 4), len(found), (round(float(low), 3), round(float(high), 3)))


def _built(where: str, line: dict[str, Any]) -> KeyLine:
    try:
        return KeyLine(**line)
    except TypeError:
        raise ConfigError(f"{where}: expected id, index, kind, label and answer") from None
