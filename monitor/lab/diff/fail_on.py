"""FailOn: the change of a set at which `lab diff` fails, for CI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.errors import ConfigError
from monitor.lab.change_test import Change

_RULE = re.compile(r"set=(?P<set>[\w.*-]+)(?::\+(?P<points>\d+(?:\.\d+)?)%)?")
ANY = "*"


@dataclass(frozen=True)
class FailOn:
    """`set=ID` fails if the set rises by more than chance; `set=ID:+20%` only if its firing rate rises by 20 points."""

    set_id: str
    least_rise: float | None

    @classmethod
    def parse(cls, text: str, known: Sequence[str]) -> FailOn:
        """Raises ConfigError if `text` is no such rule or names none of the sets `known`."""
        found = _RULE.fullmatch(text)
        if found is None:
            raise ConfigError(f"--fail-on {text}: expected set=ID or set=ID:+20%, which means 20 percentage points")
        if found["set"] not in (*known, ANY):
            raise ConfigError(f"--fail-on {text}: no such set; there are {', '.join(known)}")
        return cls(found["set"], None if found["points"] is None else float(found["points"]) / 100)

    def broken_by(self, change: Change, alpha: float) -> bool:
        """Whether the change of a set is one at which to fail."""
        if self.set_id not in (change.name, ANY) or not change.significant(alpha):
            return False
        if self.least_rise is None:
            return change.mean_after > change.mean_before
        # rates are shares of texts, so their difference has rounding errors
        return change.rate_q <= alpha and change.rate_after - change.rate_before >= self.least_rise - 1e-9
