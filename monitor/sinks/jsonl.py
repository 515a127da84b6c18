"""JsonlSink and JsonlDeadLetters: alerts and bad records in files, one JSON object per line."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from monitor.alerts.alert import Alert
from monitor.config.sinks import SinkConfig
from monitor.errors import BadEvent, ConfigError, Retryable
from monitor.events.event import Record

if TYPE_CHECKING:
    from monitor.sinks.sink import SinkContext


class JsonlSinkConfig(SinkConfig):
    """Alerts to a file, one JSON object per line."""

    enabled: bool = False
    """Whether alerts go to a file."""
    path: Path = Path("alerts.jsonl")
    """The file; alerts are appended."""
    fsync: bool = True
    """Whether a flush waits for the disk."""


class LineFile:
    """Appends whole lines: what is added is on disk after `flush`, or not at all."""

    def __init__(self, path: Path, fsync: bool, key: str) -> None:
        self._path = path
        self._fsync = fsync
        self._pending: list[bytes] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab", buffering=0)
        except OSError as e:
            raise ConfigError(f"{key}: {path}: cannot be written: {e.strerror}") from None

    def append(self, line: str) -> None:
        # the path of a fault may quote a key with lone surrogates
        self._pending.append(line.encode(errors="backslashreplace") + b"\n")

    def flush(self) -> None:
        if not self._pending:
            return
        data = b"".join(self._pending)
        end = os.fstat(self._file.fileno()).st_size
        try:
            left = memoryview(data)
            while left:  # the write after a short one names the reason
                left = left[self._file.write(left) :]
            if self._fsync:
                os.fsync(self._file.fileno())
        except OSError as e:
            with suppress(OSError):  # a pipe or a device cannot be truncated
                os.ftruncate(self._file.fileno(), end)  # half a line would corrupt the next one
            raise Retryable(f"{self._path}: not written: {e.strerror}") from None
        self._pending.clear()

    def reset(self) -> None:
        self._pending.clear()

    def close(self) -> None:
        self._file.close()


class JsonlSink:
    """Alerts to a file.

    A process that was killed while writing may leave an unfinished last line. The next start removes it, and the
    alert in it is delivered again.
    """

    name = "jsonl"
    config_type: ClassVar[type[JsonlSinkConfig]] = JsonlSinkConfig

    def __init__(self, path: Path, fsync: bool = True, key: str = "sinks.jsonl.path") -> None:
        """`key` names the setting in messages. Raises ConfigError if the file cannot be written."""
        self._lines = LineFile(path, fsync, key)
        if path.is_file():
            try:
                remove_unfinished_line(path)
            except OSError as e:
                self._lines.close()
                raise ConfigError(f"{key}: {path}: cannot be read back: {e.strerror}") from None

    @classmethod
    def open(cls, config: JsonlSinkConfig, context: SinkContext) -> JsonlSink:  # noqa: ARG003 - as SinkType has it
        """The sink of a config. Raises ConfigError if the file cannot be written."""
        return cls(config.path, config.fsync)

    def add(self, alert: Alert) -> None:
        self._lines.append(alert.to_json())

    def flush(self) -> None:
        self._lines.flush()

    def reset(self) -> None:
        self._lines.reset()

    def close(self) -> None:
        self._lines.close()


class JsonlDeadLetters:
    """Bad records to a file: where each came from, why it was refused, and its bytes in base64."""

    def __init__(self, path: Path, key: str = "--bad") -> None:
        """`key` names the setting in messages. Raises ConfigError if the file cannot be written."""
        self._lines = LineFile(path, False, key)

    def add(self, record: Record, error: BadEvent) -> None:
        row = {
            "topic": record.origin.topic,
            "partition": record.origin.partition,
            "offset": record.origin.offset,
            "path": error.path,
            "reason": error.reason,
            "value_base64": None if record.value is None else base64.b64encode(record.value).decode(),
        }
        self._lines.append(json.dumps(row, ensure_ascii=False))

    def flush(self) -> None:
        self._lines.flush()

    def reset(self) -> None:
        self._lines.reset()

    def close(self) -> None:
        self._lines.close()


def remove_unfinished_line(path: Path) -> None:
    """Removes an unfinished last line, which only a process killed in the middle of a write leaves behind."""
    with path.open("r+b") as f:
        end = f.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            step = min(65_536, at)
            f.seek(at - step)
            newline = f.read(step).rfind(b"\n")
            if newline >= 0:
                f.truncate(at - step + newline + 1)
                return
            at -= step
        if end:
            f.truncate(0)
