"""LanguageIdentifier: which texts are in another language, and which must not be taken for one."""

from __future__ import annotations

import json

import pytest

from monitor.sets.load import builtin_folder
from monitor.tokens.language_identifier import MAX_CHARS, LanguageIdentifier

IDENTIFIER = LanguageIdentifier()
ENGLISH = "The committee will meet on Thursday to talk about the new library."
GERMAN = "Der Ausschuss trifft sich am Donnerstag und spricht über die neue Bücherei."
FRENCH = "Le comité se réunit jeudi pour parler de la nouvelle bibliothèque."


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (ENGLISH, "en"),
        (GERMAN, "de"),
        (FRENCH, "fr"),
        ("Комитет собирается в четверг, чтобы поговорить о новой библиотеке.", "ru"),
        ("", None),
        ("Guten Tag", None),  # too short to be certain
        ("😀 12 + 30 = 42 !!!", None),
        ("python password generator for my family", None),
        ("\ud800 lone half of a character", "en"),
        ("```\n" + GERMAN + "\n```\n" + ENGLISH, "en"),
        (f"{ENGLISH} https://example.org/der-ausschuss-trifft-sich-am-donnerstag-und-spricht", "en"),
        ("awk -F: '$7 !~ /(nologin|false)$/ { printf \"%-16s %5d %s\\n\", $1, $3, $7 }' /etc/passwd", None),
    ],
)
def test_languages_are_told_only_with_confidence(text: str, language: str | None) -> None:
    assert IDENTIFIER.language_of(text) == language


def test_only_the_start_of_a_text_counts() -> None:
    start = (ENGLISH + " ") * (MAX_CHARS // len(ENGLISH) + 1)
    assert IDENTIFIER.language_of(start + 100 * GERMAN) == "en"


def test_labels_are_few() -> None:
    assert {"en", "de", "zh", "hi", "ar"} <= set(IDENTIFIER.languages)
    assert len(IDENTIFIER.languages) < 150


def test_rows_in_other_languages_are_known() -> None:
    lines = (builtin_folder() / "cases" / "bias_languages.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert sum(IDENTIFIER.language_of(r["prompt"]) == r["language"] for r in rows) >= 0.95 * len(rows)
