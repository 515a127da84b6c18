from pathlib import Path

import pytest

from monitor.drift.window import Window, all_of, in_window, read_file
from monitor.errors import ConfigError
from tests.drift.snapshots import snapshot


def test_a_window_holds_whole_snapshots_and_tells_of_cut_ones() -> None:
    window = Window.parse("2026-11-01T00:30/2026-11-01T03:00Z", "--baseline")
    found = in_window("w", window, [snapshot(hour=hour) for hour in range(4)])
    assert [s.start.hour for s in found.snapshots] == [1, 2]
    assert found.cut == 1


def test_lines_that_were_delivered_twice_count_once() -> None:
    assert len(all_of("f", [snapshot(), snapshot(), snapshot(instance="two")]).snapshots) == 2


@pytest.mark.parametrize("text", ["nothing", "2026-11-01", "2026-11-02/2026-11-01", "a/b/c"])
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--current: "):
        Window.parse(text, "--current")


def test_files_are_read_back_and_bad_lines_named(tmp_path: Path) -> None:
    file = tmp_path / "snapshots.jsonl"
    file.write_text(snapshot().to_json() + "\n\n" + snapshot(hour=1).to_json() + "\n")
    assert read_file(file) == [snapshot(), snapshot(hour=1)]
    file.write_text(snapshot().to_json() + "\n" + snapshot().to_json().replace("drift/1", "drift/9") + "\n{\n")
    with pytest.raises(ConfigError) as e:
        read_file(file)
    assert len(e.value.problems) == 2
    assert all(f"{file}:{n}" in problem for n, problem in zip((2, 3), e.value.problems, strict=True))


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "snapshots.jsonl"
    file.write_text(snapshot().to_json().replace('"fired":20', '"fired":2000'))
    with pytest.raises(ConfigError, match="fired is over events"):
        read_file(file)
