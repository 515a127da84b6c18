"""alert_attributes: an alert as attributes of the OpenTelemetry conventions."""

from __future__ import annotations

from opentelemetry.util.types import AttributeValue

from monitor.alerts.alert import Alert
from monitor.telemetry import names as names
from monitor.telemetry.label_values import event_attributes

SCORE_LABEL = "active"


def alert_attributes(alert: Alert) -> dict[str, AttributeValue]:
    """The attributes of an alert, for its log event and its span. They hold no text of the event."""
    reader = alert.reader
    attributes: dict[str, AttributeValue | None] = {
        names.EVALUATION_NAME: alert.set.id,
        names.SCORE_VALUE: alert.score,
        names.SCORE_LABEL: SCORE_LABEL,
        names.EXPLANATION: alert.message,
        names.RESPONSE_ID: alert.event.id,
        names.CONVERSATION_ID: alert.event.conversation_id,
        names.REQUEST_MODEL: alert.event.model,
        names.RULE_UUID: alert.set.sha256,
        names.RULE_NAME: alert.set.id,
        names.RULE_VERSION: alert.set.version,
        names.RULE_CATEGORY: alert.set.category,
        names.RULE_DESCRIPTION: alert.set.title,
        names.RULESET_NAME: f"{reader.model}/{reader.hook}.{reader.layer}",
        names.ALERT_ID: alert.id,
        names.SEVERITY: alert.severity,
        names.SET_STATUS: alert.set.status,
        names.DETECTOR: alert.detector,
        names.THRESHOLD: alert.threshold,
        names.SCORE_UNIT: alert.unit,
        names.RULES: list(alert.rules) or None,
        names.SEGMENT_NAME: alert.segment.name,
        names.SEGMENT_INDEX: alert.segment.index,
        names.SEGMENT_TOKENS: alert.segment.tokens,
        names.FEATURE_INDICES: [f.index for f in alert.features],
        names.FEATURE_LABELS: [f.label for f in alert.features],
        names.FEATURE_ACTIVATIONS: [f.activation for f in alert.features],
        names.FEATURE_CONTRIBUTIONS: [f.contribution for f in alert.features],
        # only offsets: the text of a token leaves the process in alert.content or not at all
        names.FEATURE_TOKENS: [
            f"{f.index}:{t.start}-{t.end}={t.activation:.4g}" for f in alert.features for t in f.tokens
        ],
        names.READER_MODEL: reader.model,
        names.READER_MODEL_SHA256: reader.model_sha256,
        names.READER_LAYER: reader.layer,
        names.READER_HOOK: reader.hook,
        names.SAE_SHA256: reader.sae_sha256,
        names.CONFIG_SHA256: alert.config_sha256,
        **event_attributes(alert.event.attributes),
    }
    return {name: value for name, value in attributes.items() if value is not None}
