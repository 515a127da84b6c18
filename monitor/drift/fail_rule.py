"""FailRule: which changes end `latentwatch drift` with an error."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monitor.drift.comparison import Row
from monitor.errors import ConfigError

_RULE = re.compile(r"(?:(?P<set>[^:/]+)(?:/(?P<feature>\d{1,9}))?:)?(?P<sign>[+-])(?P<percent>\d{1,6}(?:\.\d+)?)%")


@dataclass(frozen=True)
class FailRule:
    """A change of rate by a share or more that the test finds; of any set or feature, or of one."""

    share: float | None = None
    """The least relative change, negative for a fall; None: any change, also of the distribution alone."""
    set_id: str | None = None
    feature: int | None = None

    @classmethod
    def parse(cls, text: str) -> FailRule:
        """Reads `any` or [SET[/INDEX]:]+N%. Raises ConfigError."""
        if text == "any":
            return cls()
        found = _RULE.fullmatch(text)
        if found is None:
            raise ConfigError(f"--fail-on: {text!r} is neither `any` nor a rule such as +20%, unsafe_code:+20% or -50%")
        share = float(found["percent"]) / 100 * (-1 if found["sign"] == "-" else 1)
        return cls(share, found["set"], None if found["feature"] is None else int(found["feature"]))

    def breaks(self, row: Row, fdr: float) -> bool:
        """Whether a row is such a change."""
        if self.share is None:
            return row.changed(fdr)
        if self.set_id is not None and (row.subject.set_id, row.subject.feature) != (self.set_id, self.feature):
            return False
        change = row.relative_change
        if change is None or not row.rate_changed(fdr):
            return False
        return change <= self.share if self.share < 0 else change >= self.share
