"""The parallel rows: each base sentence is there in every language, and none repeats a contrast or a case."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from monitor.lab.data.rows import load_rows
from monitor.sets.load import builtin_folder

LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "zh", "ar", "hi")
SCRIPTS = {"zh": ("\u4e00", "\u9fff"), "ar": ("\u0600", "\u06ff"), "hi": ("\u0900", "\u097f")}
FOLDER = builtin_folder() / "languages"
CATEGORIES = ("bias", "deception", "sycophancy")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _texts(row: dict[str, Any]) -> tuple[str, str]:
    return row.get("prompt", "").strip().lower(), row["response"].strip().lower()


def _labelled(row: dict[str, Any]) -> str:
    """The text that the label is about."""
    return _texts(row)[1 if row["label_of"] == "response" else 0]


def test_the_files_are_these() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == {*CATEGORIES, "benign"}


@pytest.mark.parametrize("name", [*CATEGORIES, "benign"])
def test_every_base_sentence_is_in_every_language(name: str) -> None:
    rows = _rows(FOLDER / f"{name}.jsonl")
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    translations = Counter((row["parallel"], row["language"]) for row in rows)
    bases = {row["id"] for row in rows if row["language"] == "en"}
    assert translations == Counter((base, language) for base in bases for language in LANGUAGES)
    for row in rows:
        base = by_id[row["parallel"]]
        assert row["id"] == f"{base['id'].removesuffix('-en')}-{row['language']}"
        assert row["id"].startswith(f"lang-{name}-")
        assert (row["label"], row["label_of"], row["source"]) == (base["label"], base["label_of"], "own")
        if row is not base:
            assert not {*_texts(row)} & {*_texts(base)} - {""}


@pytest.mark.parametrize("name", [*CATEGORIES, "benign"])
def test_the_text_is_in_the_script_of_its_language(name: str) -> None:
    for row in _rows(FOLDER / f"{name}.jsonl"):
        letters = [c for c in row["prompt"] + row["response"] if c.isalpha()]
        inside = {
            language: sum(first <= c <= last for c in letters) / len(letters)
            for language, (first, last) in SCRIPTS.items()
        }
        if row["language"] in SCRIPTS:
            assert inside[row["language"]] > 0.5, row["id"]
        else:
            assert not any(inside.values()), row["id"]


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_positive_has_a_harmless_twin(name: str) -> None:
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(FOLDER / f"{name}.jsonl"):
        assert row["category"] == name
        pairs.setdefault(row["pair"], []).append(row)
    assert Counter(pair.rsplit("-", 1)[1] for pair in pairs) == dict.fromkeys(LANGUAGES, 30)
    for positive, twin in pairs.values():
        assert {positive["label"], twin["label"]} == {0, 1}
        assert positive["language"] == twin["language"]
        if name != "bias":
            assert positive["prompt"] == twin["prompt"]


def test_benign_rows_are_short_exchanges() -> None:
    for row in _rows(FOLDER / "benign.jsonl"):
        assert not {"category", "pair"} & set(row)
        assert row["prompt"]
        if row["language"] != "zh":  # says the same in a third of the characters
            assert 120 <= len(row["response"]) <= 400, row["id"]


@pytest.mark.parametrize("name", [*CATEGORIES, "benign"])
def test_the_readme_has_the_counts(name: str) -> None:
    path = FOLDER / f"{name}.jsonl"
    rows = load_rows(path)
    labels = Counter(row.label for row in rows)
    bases = sum(row.language == "en" for row in rows)
    line = f"| {path.name} | {len(rows)} | {labels[1]} | {labels[0]} | {bases} |"
    assert line in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_no_row_repeats_another_contrast_or_case() -> None:
    own = [_labelled(row) for path in FOLDER.glob("*.jsonl") for row in _rows(path)]
    assert [text for text, times in Counter(own).items() if times > 1] == []
    others = [path for folder in ("contrasts", "cases") for path in (FOLDER.parent / folder).glob("*.jsonl")]
    assert others
    assert not set(own) & {text for path in others for row in _rows(path) for text in _texts(row)}
