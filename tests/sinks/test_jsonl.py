"""JsonlSink and JsonlDeadLetters: whole lines or none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import Alert
from monitor.errors import BadEvent, ConfigError, Retryable
from monitor.events.event import Origin, Record
from monitor.sinks.jsonl import JsonlDeadLetters, JsonlSink
from tests.alert_factory import make_alert

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


def alerts(path: Path) -> list[Alert]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [Alert.from_json(line) for line in data.splitlines()]


@pytest.mark.parametrize("fsync", [True, False])
def test_nothing_is_written_before_the_flush_and_all_of_it_after(tmp_path: Path, fsync: bool) -> None:
    path = tmp_path / "new" / "folder" / "alerts.jsonl"
    sink = JsonlSink(path, fsync)
    first, second = make_alert("a"), make_alert("b")
    sink.add(first)
    sink.add(second)
    assert alerts(path) == []
    sink.flush()
    assert alerts(path) == [first, second]
    sink.flush()
    assert alerts(path) == [first, second]
    sink.close()


def test_alerts_are_appended_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for name in "abc":
        sink = JsonlSink(path)
        sink.add(make_alert(name))
        sink.flush()
        sink.close()
    assert [a.event.id for a in alerts(path)] == ["a", "b", "c"]


def test_close_does_not_flush_and_reset_forgets(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    sink = JsonlSink(path)
    sink.add(make_alert("a"))
    sink.reset()
    sink.add(make_alert("b"))
    sink.flush()
    sink.add(make_alert("c"))
    sink.close()
    assert [a.event.id for a in alerts(path)] == ["b"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"a":1}\n', b'{"a":1}\n'),
        (b'{"a":1}\n{"b"', b'{"a":1}\n'),
        (b'{"b"', b""),
        (b"\n{", b"\n"),
        (b'{"a":1}\n' + b"x" * 200_000, b'{"a":1}\n'),  # longer than one read back
        (b"y" * 200_000 + b"\n", b"y" * 200_000 + b"\n"),
        (b"x" * 65_536, b""),
        (b"\n" + b"x" * 65_536, b"\n"),
    ],
)
def test_an_unfinished_last_line_is_dropped_at_the_start(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(before)
    sink = JsonlSink(path)
    assert path.read_bytes() == after
    sink.add(make_alert())
    sink.flush()
    assert path.read_bytes() == after + make_alert().to_json().encode() + b"\n"
    sink.close()


@given(st.lists(st.binary(max_size=5).filter(lambda b: b"\n" not in b)), st.binary(max_size=5))
def test_whole_lines_are_never_dropped(
    tmp_path_factory: pytest.TempPathFactory,
    whole: list[bytes],
    rest: bytes,
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    kept = b"".join(line + b"\n" for line in whole)
    path.write_bytes(kept + rest.replace(b"\n", b""))
    JsonlSink(path).close()
    assert path.read_bytes() == kept


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_retryable_and_keeps_what_is_pending() -> None:
    sink = JsonlSink(FULL, fsync=False)
    sink.add(make_alert())
    for _ in range(2):
        with pytest.raises(Retryable, match=r"^/dev/full: not written: No space left on device$"):
            sink.flush()
    sink.reset()
    sink.flush()
    sink.close()


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from monitor.errors import Retryable
from monitor.sinks.jsonl import JsonlSink
from tests.alert_factory import make_alert
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
sink = JsonlSink(path)
sink.add(make_alert("first"))
sink.flush()
whole = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, resource.RLIM_INFINITY))
sink.add(make_alert("second"))
try:
    sink.flush()
except Retryable as e:
    print(e)
else:
    raise AssertionError("written over the limit")
assert path.read_bytes() == whole, "half a line was left"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.flush()
sink.flush()
"""


def test_a_disk_that_fills_up_within_a_line_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    command = [sys.executable, "-c", _LIMITED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}: not written: File too large\n"
    assert [a.event.id for a in alerts(path)] == ["first", "second"]


def test_places_that_cannot_be_written_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"sinks\.jsonl\.path: .*: cannot be written: Is a directory"):
        JsonlSink(tmp_path)
    with pytest.raises(ConfigError, match=r"sinks\.jsonl\.path: .*: cannot be written: "):
        JsonlSink(tmp_path / "file" / "a.jsonl")
    with pytest.raises(ConfigError, match=r"--bad: .*: cannot be written: Is a directory"):
        JsonlDeadLetters(tmp_path)


_TO_STDOUT = """
from pathlib import Path
from monitor.sinks.jsonl import JsonlSink
from tests.alert_factory import make_alert
sink = JsonlSink(Path("/dev/stdout"), fsync=False)
sink.add(make_alert())
sink.flush()
sink.close()
"""


def test_a_pipe_has_no_last_line() -> None:
    done = subprocess.run([sys.executable, "-c", _TO_STDOUT], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert Alert.from_json(done.stdout) == make_alert()


def test_dead_letters_keep_the_bytes_the_reason_and_the_origin(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    letters = JsonlDeadLetters(path)
    letters.add(Record(b"\xff\n", Origin("in.jsonl", 0, 7)), BadEvent("not UTF-8: byte 0", kind="encoding"))
    letters.add(Record(None, Origin("t", 2, 8)), BadEvent("broken", "$.\udc00"))
    letters.flush()
    letters.close()
    first, second = (json.loads(line) for line in path.read_bytes().splitlines())
    assert first == {
        "topic": "in.jsonl",
        "partition": 0,
        "offset": 7,
        "path": "$",
        "reason": "not UTF-8: byte 0",
        "value_base64": base64.b64encode(b"\xff\n").decode(),
    }
    assert (second["value_base64"], second["partition"], second["offset"]) == (None, 2, 8)
