"""Runs cover the text exactly, keep what a reader sees as one character whole, and are readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.report.shading import DARK, LEVELS, LIGHT, Run, shaded, strongest_window

SPANS = st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40), st.floats(0, 1)), max_size=12)


def pairs(runs: tuple[Run, ...]) -> list[tuple[str, float]]:
    return [(run.text, run.strength) for run in runs]


def test_each_token_is_a_run_of_its_own() -> None:
    runs = shaded("run eval(x)", ((4, 8, 1.0), (8, 9, 1.0)))
    assert pairs(runs) == [("run ", 0.0), ("eval", 1.0), ("(", 1.0), ("x)", 0.0)]


def test_the_byte_tokens_of_one_emoji_are_one_run() -> None:
    assert pairs(shaded("a🔥b", ((1, 2, 0.2), (1, 2, 0.9), (1, 2, 0.4)))) == [("a", 0.0), ("🔥", 0.9), ("b", 0.0)]


@pytest.mark.parametrize("whole", ["e\u0301", "👨‍👩‍👧", "👍🏽", "🇩🇪", "❤\ufe0f"])
def test_a_boundary_inside_what_is_seen_as_one_character_moves_out(whole: str) -> None:
    assert pairs(shaded(f"-{whole}-", ((0, 2, 0.5),))) == [(f"-{whole}", 0.5), ("-", 0.0)]


def test_two_flags_side_by_side_stay_two() -> None:
    assert pairs(shaded("🇩🇪🇫🇷", ((2, 4, 1.0),))) == [("🇩🇪", 0.0), ("🇫🇷", 1.0)]


@given(st.text(max_size=30), SPANS)
def test_the_runs_are_the_text(text: str, spans: list[tuple[int, int, float]]) -> None:
    runs = shaded(text, spans)
    assert "".join(run.text for run in runs) == text
    assert all(run.text and 0 <= run.strength <= 1 and 0 <= run.level <= LEVELS for run in runs)


def test_not_a_number_is_not_shaded() -> None:
    assert pairs(shaded("ab", ((0, 1, float("nan")),))) == [("ab", 0.0)]


def test_the_window_holds_the_strongest_token_in_its_middle() -> None:
    text = "." * 500 + "eval" + "." * 500
    window = strongest_window(shaded(text, ((500, 504, 1.0), (3, 6, 0.2))), 60)
    shown = "".join(run.text for run in window.runs)
    assert len(shown) == 60
    assert 20 <= shown.index("eval") <= 36
    assert window.cut_before
    assert window.cut_after


def test_a_text_that_fits_is_not_cut() -> None:
    window = strongest_window(shaded("short", ()), 60)
    assert (window.cut_before, window.cut_after) == (False, False)


def test_a_long_text_without_strengths_shows_its_beginning() -> None:
    window = strongest_window(shaded("ab" * 100, ()), 50)
    assert (window.cut_before, window.cut_after) == (False, True)


@given(st.text(max_size=80), SPANS, st.integers(1, 50))
def test_a_window_is_a_part_of_the_text(text: str, spans: list[tuple[int, int, float]], chars: int) -> None:
    shown = "".join(run.text for run in strongest_window(shaded(text, spans), chars).runs)
    assert shown in text
    assert len(shown) == min(chars, len(text))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_on_every_shade_is_readable(palette: tuple[tuple[str, str], ...]) -> None:
    assert len(palette) == LEVELS
    for background, text in palette:
        light, dark = sorted((luminance(background), luminance(text)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (background, text)
