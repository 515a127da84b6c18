"""FileSource: JSONL as it comes out of real tools, standard input, and Parquet."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from monitor.errors import BadEvent, ConfigError, Permanent
from monitor.events.event import Event, EventLimits, Message, Origin, Record
from monitor.events.parse import parse
from monitor.sources.file import FileSource

EVENT = b'{"id":"a","prompt":"x"}'


def read(path: str | Path, max_bytes: int = 1_000, batch: int = 64) -> list[Record]:
    records: list[Record] = []
    with closing(FileSource(str(path), max_bytes, batch)) as source:
        while not source.exhausted:
            polled = source.poll()
            assert len(polled) <= batch
            records += polled
        source.commit()
    return records


def lines(folder: Path, data: bytes, max_bytes: int = 1_000) -> list[tuple[int, bytes | None]]:
    path = folder / "events.jsonl"
    path.write_bytes(data)
    return [(r.origin.offset, r.value) for r in read(path, max_bytes)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\nb", [(1, b"a"), (2, b"b")]),  # no newline at the end
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\na\n \t \n\nb\n", [(2, b"a"), (5, b"b")]),  # numbers are those that an editor shows
        (b" a \n", [(1, b" a ")]),
        (b"\xff\x00\n", [(1, b"\xff\x00")]),  # not ours to judge
    ],
)
def test_lines(tmp_path: Path, data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert lines(tmp_path, data) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [9, 10, 11, 12, 13, 100, 10_000])
def test_lines_around_the_limit(tmp_path: Path, size: int, end: bytes) -> None:
    found = lines(tmp_path, b"x" * size + end + b"next" + end, max_bytes=10)
    assert found[1:] == [(2, b"next")]
    number, value = found[0]
    assert number == 1
    assert value is not None
    if size <= 10:
        assert value == b"x" * size
    else:
        assert 10 < len(value) <= 12  # enough for the parser to refuse it


def test_the_parser_refuses_a_line_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(EVENT + b"\n" + b'{"id":"b","prompt":"' + b"x" * 5_000 + b'"}\n')
    limits = EventLimits(max_bytes=100)
    first, second = read(path, max_bytes=100)
    assert parse(first, limits)[0].id == "a"
    with pytest.raises(BadEvent, match=r"over events\.max_bytes"):
        parse(second, limits)


@pytest.mark.parametrize("start", [b" " * 200, b"\r" * 200, EVENT.ljust(100) + b"\r\r"])
def test_an_over_long_line_is_never_taken_for_a_blank_or_a_whole_one(tmp_path: Path, start: bytes) -> None:
    ((number, value),) = lines(tmp_path, start + EVENT + b"\n", max_bytes=100)
    assert number == 1
    assert value is not None
    assert len(value) > 100


def test_batches_origin_and_lag(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n2\n3\n4\n5\n")
    source = FileSource(str(path), 100, batch=2)
    assert (source.unready, source.positions()) == ("", None)
    assert [r.origin for r in source.poll()] == [Origin(str(path), 0, 1), Origin(str(path), 0, 2)]
    source.keep_alive()
    assert [r.value for r in source.poll()] == [b"3", b"4"]
    assert not source.exhausted
    assert [r.value for r in source.poll()] == [b"5"]
    assert source.exhausted
    assert source.poll() == []
    source.close()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(EVENT + b"\n\n" + EVENT)))
    assert [(r.origin, r.value) for r in read("-")] == [(Origin("-", 0, 1), EVENT), (Origin("-", 0, 3), EVENT)]
    assert not sys.stdin.closed


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.jsonl: cannot be read: No such file or directory"):
        FileSource(str(tmp_path / "no.jsonl"), 100)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        FileSource(str(tmp_path), 100)


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jsonl"
    Path(os.fsdecode(path)).write_bytes(EVENT)
    (record,) = read(os.fsdecode(path))
    assert record.origin.topic.encode().endswith("/\ufffd.jsonl".encode())


# ---- Parquet


def write(folder: Path, rows: list[dict[str, Any]] | pa.Table) -> Path:
    path = folder / "events.parquet"
    parquet.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path)
    return path


def events(path: Path) -> Iterator[Event]:
    for record in read(path):
        yield from parse(record)


def test_rows_with_nested_messages_nulls_and_times(tmp_path: Path) -> None:
    noon = datetime(2025, 1, 2, 12, tzinfo=UTC)
    path = write(
        tmp_path,
        [
            {
                "id": "a",
                "messages": [{"role": "user", "content": "Grüße 👋"}],
                "prompt": None,
                "response": "r",
                "time": noon,
                "model": None,
                "attributes": None,
            },
            {"id": "b", "prompt": "p", "model": "m", "attributes": {"n": 1}},
        ],
    )
    first, second = events(path)
    assert (first.messages, first.response) == ((Message("user", "Grüße 👋"),), "r")
    assert (first.time, first.model, first.origin) == (noon, None, Origin(str(path), 0, 1))
    assert (second.messages, second.model, second.time) == ((Message("user", "p"),), "m", None)
    assert second.origin.offset == 2


def test_openai_pairs(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": None}
    row = {
        "request": {"messages": [{"role": "user", "content": "Hi"}]},
        "response": {"id": "r", "choices": [{"message": message}]},
    }
    (event,) = events(write(tmp_path, [row]))
    assert (event.id, event.response) == ("r", "Hello")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "+02:00"])
def test_timestamps_of_every_resolution(tmp_path: Path, unit: str, zone: str | None) -> None:
    moment = np.datetime64("2025-01-02T10:00:00", "ns") + (np.timedelta64(1, "ns") if unit == "ns" else 0)
    times = pa.array([moment]).cast(pa.timestamp(unit, zone))
    (event,) = events(write(tmp_path, pa.table({"id": ["a"], "prompt": ["x"], "time": times})))
    assert isinstance(event.time, datetime)
    assert event.time == datetime(2025, 1, 2, 10, tzinfo=UTC)


def test_dates(tmp_path: Path) -> None:
    (event,) = events(write(tmp_path, [{"id": "a", "prompt": "x", "time": date(2025, 1, 2)}]))
    assert event.time == datetime(2025, 1, 2, tzinfo=UTC)


def test_rows_are_numbered_across_batches(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": str(n), "prompt": "x"} for n in range(150)])
    assert [(r.origin.offset, json.loads(r.value or b"")["id"]) for r in read(path)] == [
        (n + 1, str(n)) for n in range(150)
    ]


def test_a_file_without_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path, pa.table({"id": pa.array([], pa.string())}))) == []


def test_columns_without_a_form_in_json_refuse_no_event(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": b"Gr\xc3\xbc\xc3\x9fe", "raw": b"\xff\x00", "price": Decimal("1.50")}
    (record,) = read(write(tmp_path, [row]))
    assert json.loads(record.value or b"") == {"id": "a", "prompt": "Grüße", "raw": "/wA=", "price": "1.50"}


def test_parquet_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": "a", "prompt": "x"}]).rename(tmp_path / "events.pq")
    assert [json.loads(record.value or b"") for record in read(path)] == [{"id": "a", "prompt": "x"}]


@pytest.mark.parametrize("data", [b"", b"PAR1", b'{"id":"a"}\n', b"PAR1" + b"x" * 100 + b"PAR1"])
def test_files_that_are_not_parquet(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"events\.parquet: (not Parquet|cannot be read): "):
        FileSource(str(path), 100)


def test_a_damaged_page_stops_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": str(n), "prompt": "x" * n} for n in range(100)])
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    with pytest.raises(Permanent, match=r"events\.parquet: damaged behind row 0"):
        read(path)


def test_parquet_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.parquet: cannot be read"):
        FileSource(str(tmp_path / "no.parquet"), 100)


def test_without_pyarrow_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"pip install 'latentwatch\[parquet\]'"):
        FileSource(str(tmp_path / "a.parquet"), 100)


# ---- what tools write around JSON


PRETTY = json.dumps({"id": "a", "messages": [{"role": "user", "content": 'a {"brace" ['}]}, indent=2).encode()


def values(folder: Path, data: bytes, max_bytes: int = 1_000) -> list[Any]:
    return [(number, json.loads(value or b"")) for number, value in lines(folder, data, max_bytes)]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert lines(tmp_path, b"\xef\xbb\xbf" + EVENT + b"\n" + EVENT) == [(1, EVENT), (2, EVENT)]


def test_gzip(tmp_path: Path) -> None:
    assert lines(tmp_path, gzip.compress(EVENT + b"\n" + EVENT)) == [(1, EVENT), (2, EVENT)]
    whole = gzip.compress(EVENT * 1000)
    with pytest.raises(Permanent, match=r"events\.jsonl: damaged, or it breaks off"):
        lines(tmp_path, whole[: len(whole) - 9])


def test_zstandard(tmp_path: Path) -> None:
    frame = zstandard.compress(EVENT + b"\n" + EVENT + b"\n")
    assert lines(tmp_path, frame) == [(1, EVENT), (2, EVENT)]
    assert lines(tmp_path, frame + frame) == [(n, EVENT) for n in range(1, 5)]
    many = [EVENT[:-2] + b"%d" % n + EVENT[-2:] for n in range(10_000)]
    assert [value for _, value in lines(tmp_path, zstandard.compress(b"\n".join(many)))] == many


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_zstandard_that_breaks_off_is_never_taken_for_a_whole_file(tmp_path: Path, cut: int) -> None:
    whole = zstandard.compress(b"\n".join(EVENT + b"%d" % n for n in range(1_000)))
    with pytest.raises(Permanent, match=r"events\.jsonl: damaged, or it breaks off: the file ends inside of a frame"):
        lines(tmp_path, whole[:-cut])


def test_zstandard_that_is_damaged_or_wants_too_much_memory(tmp_path: Path) -> None:
    whole = bytearray(zstandard.compress(b"\n".join(EVENT + b"%d" % n for n in range(1_000))))
    whole[40:60] = b"\xff" * 20
    with pytest.raises(Permanent, match="damaged, or it breaks off"):
        lines(tmp_path, bytes(whole))
    window = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=window).compressobj()  # without a size in its head
    with pytest.raises(Permanent, match="damaged, or it breaks off"):
        lines(tmp_path, compressor.compress(EVENT) + compressor.flush())


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_standard_input_is_decompressed(monkeypatch: pytest.MonkeyPatch, compress: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(compress(b"\xef\xbb\xbf" + EVENT))))
    assert [record.value for record in read("-")] == [EVENT]
    assert not sys.stdin.closed


def test_parquet_is_not_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"PAR1 and so on")))
    with pytest.raises(ConfigError, match="-: is Parquet, which can't be read from standard input: name the file"):
        read("-")
    assert not sys.stdin.closed


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        (b"BZh91AY&SY", "is compressed with bzip2: decompress it with bunzip2"),
        (b"\xfd7zXZ\x00\x00", "is compressed with xz: decompress it with unxz"),
        (b"PK\x03\x04", "is a zip archive: unpack it with unzip"),
        (b"Obj\x01", "is an Avro file: convert it to lines of JSON"),
        (b"ORC", "is an ORC file: convert it to Parquet"),
        (b"ARROW1\0\0", "is an Arrow file: convert it to Parquet"),
    ],
)
def test_other_kinds_are_refused_with_what_to_do(tmp_path: Path, start: bytes, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"events\.jsonl: {hint}"):
        lines(tmp_path, start + b"rest")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(Permanent, match="is UTF-16: convert it with iconv -f UTF-16 -t UTF-8"):
        lines(tmp_path, EVENT.decode().encode(encoding))


def test_pretty_printed_objects(tmp_path: Path) -> None:
    whole = json.loads(PRETTY)
    assert values(tmp_path, PRETTY + b"\n" + PRETTY) == [(1, whole), (10, whole)]
    assert values(tmp_path, b"\n" + PRETTY) == [(2, whole)]


@pytest.mark.parametrize(
    "text",
    ['{"id": "a",\n "prompt": "x"}', '{"prompt": "x", "id": "a", "more": [1,\n2]}'],
)
def test_objects_that_begin_in_their_first_line(tmp_path: Path, text: str) -> None:
    whole = json.loads(text)
    assert values(tmp_path, f"{text}\n{text}\n".encode()) == [(1, whole), (3, whole)]


@pytest.mark.parametrize("line", [b'{"id": "a", "prompt": "x,', b'{"id": "a", "prompt": "', b'{"id": "a"', b'{"id":'])
def test_a_first_line_that_was_cut_takes_no_further_lines_with_it(tmp_path: Path, line: bytes) -> None:
    found = lines(tmp_path, line + b"\n" + EVENT + b"\n" + EVENT)
    assert [value for _, value in found[-2:]] == [EVENT, EVENT]


@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_over_several_lines(tmp_path: Path, indent: int | None) -> None:
    events = [json.loads(EVENT), {"id": "b", "prompt": "}]\n[{"}, json.loads(PRETTY)]
    if indent is None:
        data = b"[" + b",\n".join(json.dumps(event).encode() for event in events) + b"]\n"
    else:
        data = json.dumps(events, indent=indent).encode()
    assert [event for _, event in values(tmp_path, data)] == events


def test_pretty_printed_objects_around_the_limit(tmp_path: Path) -> None:
    size = len(PRETTY)
    assert [len(v or b"") for _, v in lines(tmp_path, PRETTY + b"\n" + PRETTY, size)] == [size, size]
    assert [len(v or b"") for _, v in lines(tmp_path, PRETTY + b"\n" + PRETTY, size - 1)] == [
        size,
        size,
    ]  # over the limit
    assert [len(v or b"") for _, v in lines(tmp_path, PRETTY, size - 50)] == [size - 49]


def test_pretty_json_that_breaks_off_is_handed_out_for_the_parser_to_refuse(tmp_path: Path) -> None:
    ((number, value),) = lines(tmp_path, PRETTY[:-2])
    assert (number, value) == (1, PRETTY[:-2])
