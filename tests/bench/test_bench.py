"""A tiny but complete benchmark: its figures, its JSON and its tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from monitor.bench.outputs import Outputs
from monitor.bench.plot import write_plot
from monitor.bench.results import BenchReport, CurvePoint
from monitor.bench.run import Options, names, run_bench
from monitor.bench.sizes import QUICK
from monitor.bench.tables import markdown, print_report
from monitor.config.sections import Config
from monitor.errors import ConfigError

TINY = dataclasses.replace(QUICK, short_events=2, repetitions=2, single_events=1)
ROW_KEYS = {
    "workload",
    "reader",
    "tokens_per_s",
    "events_per_s",
    "ratio_to_naive",
    "p50_ms",
    "p99_ms",
    "ceiling_fraction",
    "cpu_s_per_mtok",
    "peak_rss_mb",
    "padding_waste",
}


@pytest.fixture(scope="module")
def report() -> BenchReport:
    config = Config.model_validate({"reader": {"precision": "fp32"}})
    options = Options(False, ("onnx_fp32",), ("short",), start=False, pipeline=False, scaling=False, sizes=TINY)
    return run_bench(config, options, lambda *_: None)


@pytest.mark.model
def test_two_events(report: BenchReport) -> None:
    (row,) = report.results
    assert (row.workload, row.reader, row.events, row.repetitions) == ("short", "onnx_fp32", 2, 2)
    assert row.ratio_to_naive is None
    assert row.padding_waste == 0
    assert row.events_per_s * row.tokens / row.events == pytest.approx(row.tokens_per_s)
    assert row.peak_rss_mb > 100  # the weights already take more
    assert row.ceiling_fraction is not None
    assert row.ceiling_fraction > 0
    assert report.skipped == []


@pytest.mark.model
def test_json_has_all_parts(report: BenchReport) -> None:
    data = json.loads(report.to_json())
    assert list(data) == ["machine", "results", "start", "pipeline", "scaling"]
    assert set(data["results"][0]) >= ROW_KEYS
    assert data["start"] == {}
    assert data["pipeline"] == {}
    assert data["scaling"] == []
    assert {"cpu", "cores", "ceilings_gops", "skipped"} <= set(data["machine"])
    assert {"fp32", "int8"} <= set(data["machine"]["ceilings_gops"])


@pytest.mark.model
def test_tables(report: BenchReport, tmp_path: Path) -> None:
    report = dataclasses.replace(report, scaling=[_point(1, 30.0), _point(2, 35.0)])
    page = markdown(report, "latentwatch bench --quick")
    assert "Written by `latentwatch bench --quick`." in page
    assert "| onnx_fp32 | " in page
    assert "| 2 | 35 ms (100 tokens) |" in page
    console = Console(width=80, record=True)
    print_report(console, report)
    shown = console.export_text()
    assert "onnx_fp32" in shown
    assert "…" not in shown  # 80 columns are enough
    assert write_plot(report, tmp_path / "figures") == tmp_path / "figures" / "scaling.png"
    assert (tmp_path / "figures" / "scaling.png").read_bytes().startswith(b"\x89PNG")


def _point(turn: int, ms: float) -> CurvePoint:
    return CurvePoint(
        "turn", "onnx_int8_cache", turn, tokens_per_s=1e5 / ms, ms=ms, tokens=100, spread=0.1, repetitions=2
    )


def test_outputs_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "such"
    with pytest.raises(ConfigError) as caught:
        Outputs(missing / "a.json", missing / "a.md").check()
    assert caught.value.problems == (f"--json: {missing}: no such folder", f"--markdown: {missing}: no such folder")
    Outputs(tmp_path / "a.json", tmp_path / "a.md", missing).check()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="--readers: 'onyx' is unknown; choose from naive_fp32, "):
        Options(readers=("onyx",))
    with pytest.raises(ConfigError, match="--workloads: 'shorts' is unknown; choose from short, long, multi_turn"):
        Options(workloads=("shorts",))
    assert names(" short, long,", ()) == ("short", "long")
    assert names(None, ("a",)) == ("a",)
