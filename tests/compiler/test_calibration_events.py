"""Calibration events: which events of which files precisions are compared on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.compiler.calibration_events import CalibrationEvent, _thinned, load_calibration_events
from monitor.errors import ConfigError
from tests.alert_factory import make_event


def write(path: Path, *bodies: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return path


def body(event_id: str, **more: Any) -> dict[str, Any]:
    return {"id": event_id, "prompt": "Hello?", "response": "Hello.", **more}


def test_labels_and_categories_stand_beside_the_event(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        body("risky", label=1, category="bias"),
        body("fine", label=0, category="bias"),
        body("plain"),
        body("odd", label="yes", category=7),
        body("other", label=2, category="bias"),
    )
    found = [(e.event.id, e.label, e.category) for e in load_calibration_events([file])]
    assert found == [
        ("risky", 1, "bias"),
        ("fine", 0, "bias"),
        ("plain", None, None),
        ("odd", None, None),
        ("other", None, "bias"),
    ]


def test_any_format_that_the_sidecar_reads(tmp_path: Path) -> None:
    choices = [{"message": {"role": "assistant", "content": text}} for text in ("One.", "Two.")]
    pair = {
        "request": {"messages": [{"role": "user", "content": "Well?"}]},
        "response": {"id": "c", "choices": choices},
        "label": 1,
        "category": "bias",
    }
    file = write(tmp_path / "a.jsonl", pair)
    found = load_calibration_events([file])
    assert [e.event.response for e in found] == ["One.", "Two."]
    assert {(e.label, e.category) for e in found} == {(1, "bias")}


def test_several_files_in_order_and_blank_lines(tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", body("1"), body("2"))
    second = tmp_path / "a.jsonl"
    second.write_text(f"\n{json.dumps(body('3'))}\n\n")
    assert [e.event.id for e in load_calibration_events(iter([first, second]))] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"\$: not JSON: "),
        ("[1]", r"\$\[0\]: expected a JSON object"),
        ('{"id": "x", "prompt": ""}', r"\$: no text: "),
        ('{"id": "x"}', r"\$: not a format that is read"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{json.dumps(body('1'))}\n\n{line}\n")
    with pytest.raises(ConfigError, match=rf"^{file}:3: {message}"):
        load_calibration_events([file])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        load_calibration_events([tmp_path / "nowhere.jsonl"])


def test_files_without_events(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl")
    with pytest.raises(ConfigError, match=r"a\.jsonl: no events to compare precisions on$"):
        load_calibration_events([file])


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 400), st.integers(1, 300), st.sampled_from([(1, 0), (0, 1), (1, 0, None), (None,), (1, 1, 0, 0)]))
def test_a_limit_keeps_labels_and_places_in_proportion(size: int, limit: int, labels: tuple[int | None, ...]) -> None:
    """Whatever the stride, though files hold pairs of one event of each label."""
    events = [CalibrationEvent(make_event(str(n)), labels[n % len(labels)]) for n in range(size)]
    found = _thinned(events, limit)
    numbers = [int(e.event.id) for e in found]
    assert len(found) == min(size, limit)
    assert numbers == sorted(set(numbers))
    share = len(found) / size
    for label, count in Counter(e.label for e in events).items():
        assert abs(sum(e.label == label for e in found) - count * share) < 2
    for start, end in ((0, size // 3), (size // 3, 2 * size // 3), (2 * size // 3, size)):
        assert abs(sum(start <= n < end for n in numbers) - (end - start) * share) <= 1 + 2 * len(set(labels))


@pytest.mark.parametrize("limit", [400, 1_000, 2_000])
def test_of_the_shipped_texts_every_category_and_both_labels(limit: int) -> None:
    found = load_calibration_events(limit=limit)
    everything = load_calibration_events(limit=1_000_000)
    assert len(found) == limit
    share = limit / len(everything)
    counts = Counter((e.category, e.label) for e in found)
    for key, count in Counter((e.category, e.label) for e in everything).items():
        assert key[1] in (0, 1)
        assert abs(counts[key] - count * share) < 3
