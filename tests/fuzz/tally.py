"""Tally: what became of the cases of a run, by format and by reason."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.case import Case
from tests.fuzz.check import Outcome

_VALUES = re.compile(r"'[^']*'|\d+|: [^:]*$")
_SAVED = 50


@dataclass
class Tally:
    """Counts outcomes; saves the records of faults in `folder`."""

    folder: Path
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, case: Case, outcome: Outcome, name: str) -> None:
        """Counts one case. `name` is how to make it again."""
        state = "fault" if outcome.faults else _state(outcome)
        self.outcomes[case.name, state] += 1
        if outcome.refusal is not None:
            reason = _VALUES.sub("...", outcome.refusal.reason)
            self.refusals[f"{outcome.refusal.kind}: {reason[:70]}"] += 1
        for fault in outcome.faults:
            self.faults.append(f"{name}: {fault}")
        if outcome.faults and len(self.faults) <= _SAVED:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}.record").write_bytes(case.record.value or b"")
            told = [*outcome.faults, f"format {case.wire_format}, headers {case.record.headers}"]
            (self.folder / f"{name}.txt").write_text("\n".join(told) + "\n", encoding="utf-8", errors="replace")

    def as_json(self) -> dict[str, Any]:
        """For another process to read."""
        outcomes = [[*key, n] for key, n in self.outcomes.items()]
        return {"outcomes": outcomes, "refusals": self.refusals, "faults": self.faults}

    def take(self, other: dict[str, Any]) -> None:
        """Adds what another process counted."""
        for name, state, n in other["outcomes"]:
            self.outcomes[name, state] += n
        self.refusals.update(other["refusals"])
        self.faults += other["faults"]

    def lines(self) -> list[str]:
        """The counts as a table."""
        names = sorted({name for name, _ in self.outcomes})
        found = [f"{'format':14}{'cases':>9}{'judged':>9}{'partly':>9}{'refused':>9}{'empty':>9}{'faults':>8}"]
        for name in [*names, "all"]:
            states = [
                sum(n for (of, what), n in self.outcomes.items() if what == state and name in (of, "all"))
                for state in ("judged", "partly", "refused", "empty", "fault")
            ]
            shares = "".join(f"{n / max(1, sum(states)):9.1%}" for n in states[:4])
            found.append(f"{name:14}{sum(states):9}{shares}{states[4]:8}")
        found += ["", "refused most often because:"]
        found += [f"{n:9}  {reason}" for reason, n in self.refusals.most_common(20)]
        return found


def _state(outcome: Outcome) -> str:
    """judged; partly: judged, but for what is bad in it; refused; empty: nothing to judge."""
    if outcome.refusal is None:
        return "judged" if outcome.events else "empty"
    return "partly" if outcome.events else "refused"
