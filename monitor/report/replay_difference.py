"""ReplayDifference: how the alerts of two configs differ on the same records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from monitor.alerts.alert import Alert
from monitor.report.visible_text import visible_line

Change = Literal["gone", "new", "severity"]


@dataclass(frozen=True)
class Example:
    """One event whose alert differs: by id and place, without text."""

    change: Change
    before: Alert | None
    after: Alert | None

    def to_json(self) -> dict[str, Any]:
        """For `--json`; what one side lacks is null."""
        shown = next(alert for alert in (self.after, self.before) if alert is not None)
        return {
            "change": self.change,
            "event_id": shown.event.id,
            "origin": shown.event.origin.model_dump(),
            "before": _judgement(self.before),
            "after": _judgement(self.after),
        }

    def __str__(self) -> str:
        shown = next(alert for alert in (self.after, self.before) if alert is not None)
        origin = shown.event.origin
        place = f"{origin.topic}:{origin.partition}:{origin.offset}"
        sides = " -> ".join("no alert" if a is None else _in_words(a) for a in (self.before, self.after))
        return f"{self.change}: event {visible_line(shown.event.id)} at {visible_line(place)}: {sides}"


@dataclass
class SetDifference:
    """What became of one set's alerts."""

    before: int = 0
    after: int = 0
    gone: int = 0
    new: int = 0
    severity: int = 0
    """Alerts of both sides whose severity differs."""
    examples: list[Example] = field(default_factory=list)


class ReplayDifference:
    """Compares the alerts of two configs, batch by batch, and keeps counts and a few examples of each change.

    Alerts belong together if they are about the same set and the same event of the same record. If there is no second
    config, nothing is compared, and only the alerts of the first one are counted.
    """

    def __init__(self, compares: bool, most_examples: int) -> None:
        """Keeps at most `most_examples` of each change of each set."""
        self._compares = compares
        self._most = most_examples
        self._sets: dict[str, SetDifference] = {}

    def add(self, before: Iterable[Alert], after: Iterable[Alert]) -> None:
        """Takes the alerts of both sides on the same records."""
        sides = [{(a.set.id, a.event.origin, a.event.id): a for a in alerts} for alerts in (before, after)]
        for key in dict.fromkeys((*sides[0], *sides[1])):
            self._pair(self._sets.setdefault(key[0], SetDifference()), sides[0].get(key), sides[1].get(key))

    @property
    def differs(self) -> bool:
        """Whether any alert is gone, new, or of another severity."""
        return self._compares and any(s.gone or s.new or s.severity for s in self._sets.values())

    def to_json(self) -> list[dict[str, Any]]:
        """One object a set, in the order of their ids."""
        return [
            {"set": id_, "alerts": found.before}
            if not self._compares
            else {
                "set": id_,
                "before": found.before,
                "after": found.after,
                "gone": found.gone,
                "new": found.new,
                "severity": found.severity,
                "examples": [example.to_json() for example in found.examples],
            }
            for id_, found in sorted(self._sets.items())
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._sets:
            yield Text("no alerts")
            return
        yield self._table()
        for id_, found in sorted(self._sets.items()):
            for example in found.examples:
                yield Text(f"{visible_line(id_)}: {example}")

    def _pair(self, found: SetDifference, before: Alert | None, after: Alert | None) -> None:
        found.before += before is not None
        found.after += after is not None
        if not self._compares:
            return
        change: Change
        if after is None:
            change, found.gone = "gone", found.gone + 1
        elif before is None:
            change, found.new = "new", found.new + 1
        elif before.severity != after.severity:
            change, found.severity = "severity", found.severity + 1
        else:
            return
        if sum(example.change == change for example in found.examples) < self._most:
            found.examples.append(Example(change, before, after))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("Set")
        for name in ("before", "after", "gone", "new", "other severity") if self._compares else ("alerts",):
            table.add_column(name, justify="right")
        for id_, found in sorted(self._sets.items()):
            table.add_row(Text(visible_line(id_)), *map(str, self._figures(found)))
        return table

    def _figures(self, found: SetDifference) -> Iterator[int]:
        yield found.before
        if self._compares:
            yield from (found.after, found.gone, found.new, found.severity)


def _judgement(alert: Alert | None) -> dict[str, Any] | None:
    if alert is None:
        return None
    return {"severity": alert.severity, "score": alert.score, "threshold": alert.threshold, "alert_id": alert.id}


def _in_words(alert: Alert) -> str:
    return f"{alert.severity}, score {alert.score:.4g} (threshold {alert.threshold:.4g})"
