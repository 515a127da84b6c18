"""Sizing: the arithmetic, the file that it reads, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.bench.results import BenchReport, ReaderResult
from monitor.cli.app import app
from monitor.errors import ConfigError
from monitor.scale.figures import Figures, cpu_s_per_mtok
from monitor.scale.sizing import Assumptions, Load, size

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "performance-figures.json"
READER = "onnx_int8_confirmed"


def figures(**machine: Any) -> Figures:
    """100 CPU seconds per million tokens at 100 tokens an event, 200 at 1,100; 1,000 MB."""
    rows = [
        {"workload": name, "reader": READER, "cpu_s_per_mtok": cost, "peak_rss_mb": mb, "events": 10, "tokens": tokens}
        for name, cost, mb, tokens in (
            ("short", 100.0, 800.0, 1_000),
            ("long", 200.0, 900.0, 11_000),
            ("multi_turn", 10.0, 1_000.0, 5_000),
        )
    ]
    about = {"cpu": "a CPU", "cores": 2, "load_before": 0.1, "started": "today", "ceilings_gops": {"fp32": 400.0}}
    return Figures.model_validate({"machine": {**about, **machine}, "results": rows})


@pytest.mark.parametrize(("tokens", "cost"), [(10, 100), (100, 100), (600, 150), (1_100, 200), (2_100, 300)])
def test_a_tokens_cost_follows_the_length_of_its_event(tokens: float, cost: float) -> None:
    assert cpu_s_per_mtok(figures().of_reader(READER), tokens) == pytest.approx(cost)


def test_a_load_becomes_replicas_requests_partitions_and_core_hours() -> None:
    assumptions = Assumptions(cores=2, utilisation=0.5, peak=2, growth=3, memory=1.5)
    sizing = size(Load(100, 600), figures(), assumptions)
    assert sizing.computed_tokens_per_s == 60_000
    assert sizing.busy_cores == pytest.approx(9.0)  # 60,000 tokens x 150 s / 1,000,000
    assert sizing.replicas == 18  # 9 cores x 2 at the peak, of which each replica keeps 1 busy
    assert sizing.average_replicas == 9
    assert sizing.partitions == 54
    assert sizing.memory_request_mib == 1_472  # 1,000 MB x 1.5 are 1,431 MiB, in steps of 64
    assert sizing.core_hours_a_month == 18 * 2 * 730
    assert sizing.average_core_hours_a_month == 9 * 2 * 730
    assert sizing.replica_events_per_s == pytest.approx(100 / 9)
    assert sizing.notes == ()


def test_the_prefix_cache_saves_its_share() -> None:
    whole, cached = (size(Load(100, 600), figures(), Assumptions(cached=share)) for share in (0.0, 0.75))
    assert cached.busy_cores == pytest.approx(whole.busy_cores / 4)


def test_a_gpu_pays_if_it_reads_more_than_the_cores_for_its_price() -> None:
    load, measured = Load(1_000, 600), figures()
    # a core reads 1,000,000 / 150 tokens a second
    unmeasured = size(load, measured, Assumptions(gpu_core_hours=60)).gpu
    assert unmeasured.pays_from_tokens_per_s == pytest.approx(400_000)
    assert unmeasured.gpus is None
    for speed, cheaper in ((500_000, True), (300_000, False)):
        sizing = size(load, measured, Assumptions(gpu_core_hours=60, gpu_tokens_per_s=speed))
        assert sizing.gpu.core_hours_a_month is not None
        assert (sizing.gpu.core_hours_a_month < sizing.core_hours_a_month) is cheaper


def test_activations_of_the_server_cost_their_products_and_the_network() -> None:
    server = size(Load(10, 1_000), figures(), Assumptions(server_width=1_000, server_features=500)).server_side
    assert server is not None
    assert server.busy_cores == pytest.approx(10_000 * 2 * 1_000 * 500 / (400e9 / 2 * 0.5))
    assert server.megabytes_per_s == pytest.approx(20)
    assert size(Load(10, 1_000), figures(ceilings_gops={}), Assumptions()).server_side is None


@pytest.mark.parametrize(
    ("load", "machine", "note"),
    [
        (Load(1, 600), {"load_before": 4.0}, "the machine was busy when it was measured"),
        (Load(1, 5_000), {}, "events of 5,000 tokens were not measured, only of 100 to 1,100"),
        (Load(1e6, 600), {}, "are too many for one consumer group"),
    ],
)
def test_notes_say_what_to_keep_in_mind(load: Load, machine: dict[str, Any], note: str) -> None:
    (found,) = size(load, figures(**machine), Assumptions()).notes
    assert note in found


def test_it_reads_what_bench_writes(tmp_path: Path) -> None:
    row = ReaderResult(
        "short", READER, 1e3, 8.0, None, 1.0, 2.0, None, 250.0, 900.0, 0.0, 1.0, 2.0, 700.0, 0.1, 3, 4, 480
    )
    machine = {"cpu": "a CPU", "cores": 2, "load_before": 0.2, "started": "today", "ceilings_gops": {}}
    file = tmp_path / "bench.json"
    file.write_text(BenchReport(machine, [row]).to_json())
    (read,) = Figures.load(file).of_reader(READER)
    assert (read.cpu_s_per_mtok, read.peak_rss_mb, read.event_tokens) == (250.0, 900.0, 120.0)


def test_a_file_that_bench_did_not_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text('{"machine": {"cpu": "x", "cores": 0}, "results": []}')
    with pytest.raises(ConfigError) as error:
        Figures.load(file)
    assert {problem.split(": ")[2] for problem in error.value.problems} == {
        "machine.cores",
        "machine.load_before",
        "machine.started",
    }
    with pytest.raises(ConfigError, match="cannot be read"):
        Figures.load(tmp_path / "none.json")


def test_a_reader_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--reader: torch was not measured .*; choose from onnx_int8_confirmed"):
        size(Load(1, 100), figures(), Assumptions(reader="torch"))


def test_the_example_has_the_figures_of_the_page() -> None:
    page = (DOCS / "performance-figures.md").read_text(encoding="utf-8")
    example = Figures.load(EXAMPLE)
    assert f"{example.machine.cpu}, {example.machine.cores} cores, load {example.machine.load_before:.1f}" in page
    assert example.machine.started in page
    for row in example.results:
        section = page.split(f"\n## {row.workload}: ")[1].split("\n## ")[0]
        cells = f"| {row.cpu_s_per_mtok:,.0f} | {row.peak_rss_mb:,.0f} |"
        assert any(line.startswith(f"| {row.reader} |") and line.endswith(cells) for line in section.splitlines())


def test_the_pages_examples_are_what_the_command_prints() -> None:
    page = (DOCS / "scale.md").read_text(encoding="utf-8").splitlines()
    commands = [n for n, line in enumerate(page) if line.startswith("    $ latentwatch size ")]
    assert commands
    for n in commands:
        arguments = page[n].removeprefix("    $ latentwatch ").replace("docs/", f"{DOCS}/").split()
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0
        printed = done.stdout.splitlines()
        assert [line.removeprefix("    ") for line in page[n + 1 : n + 1 + len(printed)]] == printed


def test_the_command_prints_json() -> None:
    done = CliRunner().invoke(
        app, ["size", "--events-per-s", "10", "--tokens", "500", "--machine", str(EXAMPLE), "--json"]
    )
    assert done.exit_code == 0
    sizing = json.loads(done.stdout)
    assert sizing["assumptions"]["utilisation"] == 0.6
    assert sizing["replicas"] >= 1
