"""The tables of docs/telemetry.md, from the names: `python -m tests.telemetry.documented_names` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from monitor.telemetry import names as names
from monitor.telemetry.buckets import AGES, SCORES, SECONDS
from monitor.telemetry.name_table import SPANS, TABLE

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"
_TABLE = re.compile(r"(<!-- names: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_GROUPS = {"stream": names.STREAM, "alert": names.ALERT_ATTRIBUTES}
"""Attributes that many rows share, by the word that the page uses for them."""


def with_tables(page: str) -> str:
    """The page with each of its tables written again."""
    return _TABLE.sub(lambda found: found[1] + _TABLES[found[2]]() + "\n" + found[3], page)


def _groups() -> str:
    return "\n\n".join(f"*{word}* is {_quoted(found)}." for word, found in _GROUPS.items())


def _metrics() -> str:
    rows = (
        (f"`{row.name}`<br>`{names.prometheus_name(row)}`", row.kind, row.unit or "-", _of(row), row.description)
        for row in names.METRICS
    )
    return _table(("Name", "Kind", "Unit", "Attributes", "Meaning"), rows)


def _buckets() -> str:
    uses: Mapping[str, Sequence[float]] = {
        "all others, in seconds": SECONDS,
        f"`{names.EVENT_AGE.name}`": AGES,
        f"`{names.SCORE.name}`": SCORES,
    }
    return _table(
        ("Histogram", "Bucket boundaries"),
        ((of, ", ".join(f"{b:.10g}" for b in bounds)) for of, bounds in uses.items()),
    )


def _spans() -> str:
    rows = ((f"`{row.name}`", f"{row.kind}, {row.unit}", _of(row), row.description) for row in SPANS)
    return _table(("Name", "Kind", "Attributes", "Meaning"), rows)


def _described(kind: names.Kind) -> str:
    rows = ((f"`{row.name}`", row.unit, row.description) for row in TABLE if row.kind == kind)
    return _table(("Name", "Type", "Meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" if cells else "|---" * len(head) + "|" for cells in (head, (), *rows))


def _of(row: names.Name) -> str:
    """The attributes, with a word for groups that it has all of."""
    words = [word for word, group in _GROUPS.items() if set(group) <= set(row.attributes)]
    shown = {name for word in words for name in _GROUPS[word]}
    own = [f"`{name}`" for name in row.attributes if name not in shown]
    return ", ".join([*(f"*{word}*" for word in words), *own]) or "-"


def _quoted(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


_TABLES: Mapping[str, Callable[[], str]] = {
    "groups": _groups,
    "metrics": _metrics,
    "buckets": _buckets,
    "spans": _spans,
    "attributes": lambda: _described("attribute"),
    "resource": lambda: _described("resource"),
}


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
