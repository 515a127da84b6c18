"""AlertmanagerSink: alerts to Prometheus Alertmanager, grouped so that a burst is one alert there.

Source: the API of Alertmanager, version 2 (POST /api/v2/alerts).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, Field, StringConstraints, model_validator

from monitor.alerts.alert import Alert
from monitor.config.section import Seconds
from monitor.sinks.http import HttpDestination, HttpSinkConfig

if TYPE_CHECKING:
    from monitor.sinks.sink import SinkContext

_KEY = "sinks.alertmanager"
_ALERT_NAME = "LatentwatchFeatureActive"
_MAX_GROUPS = 1_000
_MAX_LABEL_CHARS = 200
_OWN_LABELS = ("alertname", "set", "category", "severity")
# what may hold text of an event must not become a label
_LABEL_SOURCES = ("event", "set", "segment", "reader", "detector", "trace_id", "config_sha256")

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class AlertmanagerSinkConfig(HttpSinkConfig):
    """Alerts to Prometheus Alertmanager, one for each set, severity and further labels."""

    url: str = "http://127.0.0.1:9093"
    """Base URL of Alertmanager."""
    labels: dict[LabelName, str] = Field(default_factory=dict)
    """Further labels: name -> field of the alert, such as `tenant: event.attributes.tenant`."""
    resolve_after_s: Seconds = 300.0
    """Alertmanager resolves the alert if this long no event made it again."""

    @model_validator(mode="after")
    def _known_fields(self) -> AlertmanagerSinkConfig:
        for name, path in self.labels.items():
            if name in _OWN_LABELS:
                raise ValueError(f"labels.{name}: this label is always set; choose another name")
            if not _is_field(path):
                raise ValueError(
                    f"labels.{name}: {path} is no single value of an alert, or may hold text; "
                    "docs/alerts.md lists its fields, such as event.model"
                )
        return self


@dataclass(frozen=True)
class _Group:
    """Alerts with the same labels, from the first until none came for a while."""

    starts_at: datetime
    ends_at: datetime
    count: int
    last: Alert


class AlertmanagerSink:
    """A Sink. Every flush posts the groups that got alerts, each with a new time at which Alertmanager resolves it.

    So a group is resolved after a quiet time even if this process is gone by then. Groups are remembered until then,
    and at most a thousand; what is over goes to groups without the configured labels.
    """

    name = "alertmanager"
    config_type: ClassVar[type[AlertmanagerSinkConfig]] = AlertmanagerSinkConfig

    def __init__(self, config: AlertmanagerSinkConfig) -> None:
        """Raises ConfigError for a bad URL, and for files that can't be used."""
        self._config = config
        self._destination = HttpDestination(_KEY, f"{config.url.rstrip('/')}/api/v2/alerts", config)
        self._pending: list[Alert] = []
        self._groups: dict[tuple[tuple[str, str], ...], _Group] = {}

    @classmethod
    def open(cls, config: AlertmanagerSinkConfig, context: SinkContext) -> AlertmanagerSink:  # noqa: ARG003
        """The sink of a config. Raises ConfigError as the constructor does."""
        return cls(config)

    def add(self, alert: Alert) -> None:
        self._pending.append(alert)

    def flush(self) -> None:
        """Posts all groups that alerts were added to, in one request. Raises Retryable or Permanent."""
        if not self._pending:
            return
        now = datetime.now(UTC)
        groups = {labels: group for labels, group in self._groups.items() if group.ends_at > now}
        changed = dict.fromkeys(self._grouped(groups, alert, now) for alert in self._pending)
        self.post([_posted(labels, groups[labels]) for labels in changed])
        self._groups = groups  # only now, so that a batch that is sent again is not counted twice
        self._pending.clear()

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Posts alerts in Alertmanager's form. Raises Retryable or Permanent."""
        self._destination.post(json.dumps(alerts).encode(), {"Content-Type": "application/json"})

    def reset(self) -> None:
        self._pending.clear()
        self._destination.reset()

    def close(self) -> None:
        self._destination.close()

    def _grouped(
        self, groups: dict[tuple[tuple[str, str], ...], _Group], alert: Alert, now: datetime
    ) -> tuple[tuple[str, str], ...]:
        """Adds the alert to its group. Returns the labels of the group."""
        own = tuple(zip(_OWN_LABELS, (_ALERT_NAME, alert.set.id, alert.set.category, alert.severity), strict=True))
        labels = (*own, *self._chosen(alert)) if self._config.labels else own
        if labels not in groups and len(groups) >= _MAX_GROUPS:
            labels = own
        before = groups.get(labels)
        groups[labels] = _Group(
            starts_at=now if before is None else before.starts_at,
            ends_at=now + timedelta(seconds=self._config.resolve_after_s),
            count=1 if before is None else before.count + 1,
            last=alert,
        )
        return labels

    def _chosen(self, alert: Alert) -> tuple[tuple[str, str], ...]:
        fields = alert.model_dump(mode="json", by_alias=True, include=set(_LABEL_SOURCES))
        found = ((name, _value(fields, path)) for name, path in self._config.labels.items())
        return tuple((name, str(value)[:_MAX_LABEL_CHARS]) for name, value in found if value is not None)


def _posted(labels: tuple[tuple[str, str], ...], group: _Group) -> dict[str, Any]:
    last = group.last
    annotations = {
        "summary": f"{last.set.title}: {group.count} {'alert' if group.count == 1 else 'alerts'}",
        "description": last.message,
        "count": str(group.count),
        "score": f"{last.score:g} of {last.threshold:g}",
        "alert_id": last.id,
        "event_id": last.event.id,
        "trace_id": last.trace_id or "",
    }
    return {
        "labels": dict(labels),
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": group.starts_at.isoformat(),
        "endsAt": group.ends_at.isoformat(),
    }


def _value(fields: Any, path: str) -> Any:
    if not isinstance(fields, Mapping):
        return None
    if path in fields:  # attributes may have dots in their names
        return None if isinstance(fields[path], Mapping | list) else fields[path]
    name, _, rest = path.partition(".")
    return _value(fields.get(name), rest) if rest else None


def _is_field(path: str) -> bool:
    """Whether `path` may name one value of an alert. Below a mapping, every name may."""
    model: Any = Alert
    names = path.split(".")
    if names[0] not in _LABEL_SOURCES or not all(names):
        return False
    for at, name in enumerate(names):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return False
        if name not in model.model_fields:
            return False
        model = model.model_fields[name].annotation
        if getattr(model, "__origin__", None) in (dict, Mapping):
            return at < len(names) - 1
    return not (isinstance(model, type) and issubclass(model, BaseModel))
