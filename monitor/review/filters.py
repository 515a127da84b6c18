"""Filters: which alerts a list, a chart or an export is about; its URL query is the saved view."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import ColumnElement, exists, false, func, literal_column, select, text, true

from detectors.feature_set import SEVERITIES
from monitor.review.alert_rows import micros
from monitor.review.tables import alert, alert_body, alert_feature
from monitor.review.verdicts import STANDINGS

NONE = "none"
"""In a query: no verdict, nobody assigned."""
_MAX_CHARS = 200
_WORD = re.compile(r"\w+")
_LATENT = re.compile(r"#?(\d{1,15})")


class BadQuery(ValueError):
    """A URL query that cannot be used; the text says which value and why."""


@dataclass(frozen=True)
class Filters:
    """Empty strings filter nothing."""

    q: str = ""
    """Words that the text, the message, the event id or a feature's label has."""
    category: str = ""
    severity: str = ""
    set: str = ""
    feature: str = ""
    """Index of a latent, or a part of a label."""
    model: str = ""
    tenant: str = ""
    since: str = ""
    """A day, or a time with a zone, from which on alerts count."""
    until: str = ""
    """The last day, or the time before which alerts count."""
    verdict: str = ""
    """`none`, or a standing."""
    assignee: str = ""
    """`none`, or a reviewer."""
    group: str = ""
    """Number of a group of similar alerts, all of which are then shown."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """The filters in a URL query; other keys are ignored. Raises BadQuery."""
        values = {f.name: query.get(f.name, "").strip()[:_MAX_CHARS].replace("\0", "") for f in fields(cls)}
        filters = cls(**values)
        if filters.severity and filters.severity not in SEVERITIES:
            raise BadQuery(f"severity: {filters.severity} is none of {', '.join(SEVERITIES)}")
        if filters.verdict and filters.verdict not in (NONE, *STANDINGS):
            raise BadQuery(f"verdict: {filters.verdict} is none of {', '.join((NONE, *STANDINGS))}")
        if filters.group and not re.fullmatch(r"\d{1,18}", filters.group):
            raise BadQuery("group: expected a number")
        _moment("since", filters.since, end=False)
        _moment("until", filters.until, end=True)
        return filters

    @classmethod
    def of_text(cls, query: str) -> Filters:
        """The filters in the text of a URL query. Raises BadQuery."""
        try:
            return cls.of(dict(parse_qsl(query, max_num_fields=len(fields(cls)))))
        except ValueError as e:
            raise BadQuery(str(e)) from None

    def query(self, **changes: str) -> str:
        """The URL query of these filters, without those that filter nothing."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | changes
        return urlencode({name: value for name, value in values.items() if value})

    def conditions(self, dialect: str) -> list[ColumnElement[bool]]:
        """What a row of `alert` has to fulfil."""
        return list(self._conditions(dialect)) or [true()]

    def _conditions(self, dialect: str) -> Iterator[ColumnElement[bool]]:
        plain = (
            ("category", alert.c.category),
            ("severity", alert.c.severity),
            ("set", alert.c.set_id),
            ("model", alert.c.model),
            ("tenant", alert.c.tenant),
        )
        for name, column in plain:
            if value := getattr(self, name):
                yield column == value
        for name, column in (("verdict", alert.c.verdict), ("assignee", alert.c.assignee)):
            if value := getattr(self, name):
                yield column.is_(None) if value == NONE else column == value
        if self.group:
            yield alert.c.group_id == int(self.group)
        if (since := _moment("since", self.since, end=False)) is not None:
            yield alert.c.time_us >= since
        if (until := _moment("until", self.until, end=True)) is not None:
            yield alert.c.time_us < until
        if self.feature:
            yield self._has_feature()
        if self.q:
            yield _contains(self.q, dialect)

    def _has_feature(self) -> ColumnElement[bool]:
        latent = _LATENT.fullmatch(self.feature)
        if latent:
            wanted: ColumnElement[bool] = alert_feature.c.latent == int(latent[1])
        else:
            wanted = alert_feature.c.label.icontains(self.feature, autoescape=True)
        return exists().where(alert_feature.c.number == alert.c.number, wanted)


def _contains(words: str, dialect: str) -> ColumnElement[bool]:
    """All of the words, in any order; the last one may be the beginning of a word."""
    found = _WORD.findall(words)
    if not found:
        return false()  # punctuation alone is nowhere
    if dialect == "sqlite":
        # in quotes, no word is an operator of FTS5
        match = " ".join(f'"{word}"' for word in found) + "*"
        numbers = text("SELECT rowid FROM alert_search WHERE alert_search MATCH :fts").bindparams(fts=match)
        return alert.c.number.in_(numbers.columns(literal_column("rowid")).subquery().select())
    match = " & ".join(f"'{word}'" for word in found) + ":*"
    vector = func.to_tsvector(literal_column("'simple'"), alert_body.c.words)
    query = func.to_tsquery(literal_column("'simple'"), match)
    return alert.c.number.in_(select(alert_body.c.number).where(vector.op("@@")(query)))


def _moment(name: str, value: str, end: bool) -> int | None:
    """Microseconds since 1970; a day stands for its beginning, or for its end. Raises BadQuery."""
    if not value:
        return None
    try:
        if len(value) == len("2026-01-31"):
            day = date.fromisoformat(value) + timedelta(days=end)
            return micros(datetime.combine(day, time(), UTC))
        return micros(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise BadQuery(f"{name}: {value}: expected a day such as 2026-01-31, or 2026-01-31T12:00+00:00") from None
