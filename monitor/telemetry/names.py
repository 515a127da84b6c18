"""The names of every metric, span, log event and attribute that latentwatch emits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecordOutcome = Literal["judged", "sampled_out", "nothing_to_judge", "partly_judged", "dead_lettered"]
"""What becomes of a record; partly judged ones are dead-lettered as well, because of what is bad in them."""
Kind = Literal["counter", "histogram", "gauge", "span", "event", "attribute", "resource"]

# From a fast poll to a long text on one core; the SDK's default boundaries are for milliseconds.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True)
class Name:
    """One name. `attributes` are what a metric, span or event may carry; `unit` is a UCUM unit or a type."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


# Attributes of the OpenTelemetry conventions (messaging, GenAI evaluation, security rule) and of OpenInference.
SYSTEM = "messaging.system"
OPERATION = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
GROUP = "messaging.consumer.group.name"
CLIENT_ID = "messaging.client.id"
BATCH_COUNT = "messaging.batch.message_count"
ERROR_TYPE = "error.type"
EVALUATION_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
EXPLANATION = "gen_ai.evaluation.explanation"
RESPONSE_ID = "gen_ai.response.id"
CONVERSATION_ID = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
RULE_UUID = "security_rule.uuid"
RULE_NAME = "security_rule.name"
RULE_VERSION = "security_rule.version"
RULE_CATEGORY = "security_rule.category"
RULE_DESCRIPTION = "security_rule.description"
RULESET_NAME = "security_rule.ruleset.name"
SPAN_KIND = "openinference.span.kind"
INPUT_VALUE = "input.value"
OUTPUT_VALUE = "output.value"

# Attributes of latentwatch.
ALERT_ID = "latentwatch.alert.id"
SEVERITY = "latentwatch.severity"
SET_ID = "latentwatch.set.id"
SET_STATUS = "latentwatch.set.status"
CATEGORY = "latentwatch.category"
DETECTOR = "latentwatch.detector"
THRESHOLD = "latentwatch.score.threshold"
SCORE_UNIT = "latentwatch.score.unit"
SEGMENT_NAME = "latentwatch.segment.name"
SEGMENT_INDEX = "latentwatch.segment.index"
SEGMENT_TOKENS = "latentwatch.segment.tokens"
FEATURE_INDEX = "latentwatch.feature.index"
FEATURE_INDICES = "latentwatch.feature.indices"
FEATURE_LABELS = "latentwatch.feature.labels"
FEATURE_ACTIVATIONS = "latentwatch.feature.activations"
FEATURE_CONTRIBUTIONS = "latentwatch.feature.contributions"
FEATURE_TOKENS = "latentwatch.feature.tokens"
READER_MODEL = "latentwatch.reader.model"
READER_MODEL_SHA256 = "latentwatch.reader.model_sha256"
READER_LAYER = "latentwatch.reader.layer"
READER_HOOK = "latentwatch.reader.hook"
SAE_SHA256 = "latentwatch.sae.sha256"
CONFIG_SHA256 = "latentwatch.config.sha256"
CONTENT_PROMPT = "latentwatch.content.prompt"
CONTENT_TEXT = "latentwatch.content.text"
SINK = "latentwatch.sink"
SIGNAL = "latentwatch.signal"
PART_KIND = "latentwatch.part.kind"
RELOAD_OUTCOME = "latentwatch.reload.outcome"
RULE = "latentwatch.rule"
RULES = "latentwatch.rules"
ALLOWED = "latentwatch.allowed"
SILENCED = "latentwatch.silenced"
RECORD_OUTCOME = "latentwatch.record.outcome"

_STREAM = (SYSTEM, OPERATION, DESTINATION, GROUP, CLIENT_ID)
_RULE = (RULE_UUID, RULE_NAME, RULE_VERSION, RULE_CATEGORY, RULE_DESCRIPTION, RULESET_NAME)
_SCORE = (EVALUATION_NAME, SCORE_VALUE, SCORE_LABEL, EXPLANATION, RESPONSE_ID, CONVERSATION_ID, REQUEST_MODEL)
_MATCH = (DETECTOR, THRESHOLD, SCORE_UNIT, RULES, SEGMENT_NAME, SEGMENT_INDEX, SEGMENT_TOKENS)
_EVIDENCE = (FEATURE_INDICES, FEATURE_LABELS, FEATURE_ACTIVATIONS, FEATURE_CONTRIBUTIONS, FEATURE_TOKENS)
_READ_WITH = (READER_MODEL, READER_MODEL_SHA256, READER_LAYER, READER_HOOK, SAE_SHA256, CONFIG_SHA256)
ALERT_ATTRIBUTES = (*_SCORE, *_RULE, ALERT_ID, SEVERITY, SET_STATUS, *_MATCH, *_EVIDENCE, *_READ_WITH)

# Metrics.
CONSUMED = Name(
    "messaging.client.consumed.messages", "counter", "{message}", "Records that the source returned.", _STREAM
)
OPERATION_DURATION = Name(
    "messaging.client.operation.duration", "histogram", "s", "Time that one poll took, waiting included.", _STREAM
)
PROCESS_DURATION = Name(
    "messaging.process.duration",
    "histogram",
    "s",
    "Time to evaluate one event: its share of the time that its group took.",
    (*_STREAM, ERROR_TYPE),
)
RECORDS = Name(
    "latentwatch.records",
    "counter",
    "{record}",
    "Records that were committed, each by what became of it.",
    (RECORD_OUTCOME,),
)
BAD_EVENTS = Name(
    "latentwatch.events.dead_lettered",
    "counter",
    "{event}",
    "Records that were dead-lettered because of at least one event that is not valid.",
    (ERROR_TYPE,),
)
UNREAD_PARTS = Name(
    "latentwatch.events.unread_parts",
    "counter",
    "{part}",
    "Parts of events that no text could be read from, by kind.",
    (PART_KIND,),
)
REPAIRED = Name(
    "latentwatch.events.repaired",
    "counter",
    "{part}",
    "What was replaced or guessed to read an event, by kind.",
    (PART_KIND,),
)
TEMPLATE_FALLBACKS = Name(
    "latentwatch.chat_template.fallbacks",
    "counter",
    "{event}",
    "Events that the chat template refused; they were read as plain text, turn after turn.",
)
SOURCE_UNREAD = Name(
    "latentwatch.source.unread", "counter", "{offset}", "Offsets whose records could not be read.", (ERROR_TYPE,)
)
SOURCE_FAILURES = Name(
    "latentwatch.source.failures", "counter", "{poll}", "Polls that failed and were tried again.", (ERROR_TYPE,)
)
INTAKE_ACCEPTED = Name(
    "latentwatch.intake.accepted", "counter", "{request}", "Requests with events that the HTTP intake accepted."
)
INTAKE_REFUSED = Name(
    "latentwatch.intake.refused",
    "counter",
    "{request}",
    "Requests that the HTTP intake refused, and connections over its limit.",
    (ERROR_TYPE,),
)
INTAKE_HELD = Name(
    "latentwatch.intake.held",
    "gauge",
    "{request}",
    "Requests that the HTTP intake accepted and that are not delivered yet; absent without it.",
)
INTAKE_HELD_SIZE = Name(
    "latentwatch.intake.held.size", "gauge", "By", "Bytes of these requests, in memory; absent without the intake."
)
TOKENS = Name("latentwatch.tokens", "counter", "{token}", "Tokens that the model read.")
TOKENS_CACHED = Name(
    "latentwatch.tokens.cached", "counter", "{token}", "Tokens that the prefix cache saved the model from reading."
)
CONFIRMED = Name(
    "latentwatch.events.confirmed",
    "counter",
    "{event}",
    "Events near a threshold that were read a second time, in float32, to confirm or reject.",
)
SAMPLED_OUT = Name(
    "latentwatch.events.sampled_out",
    "counter",
    "{event}",
    "Events that were not read, because a rule of the config samples them.",
    (RULE,),
)
WINDOWS = Name("latentwatch.windows", "counter", "{window}", "Windows that the model read.")
READ_DURATION = Name("latentwatch.read.duration", "histogram", "s", "Time that the model took to read one event.")
ALERTS = Name(
    "latentwatch.alerts", "counter", "{alert}", "Alerts by set, category and severity.", (SET_ID, CATEGORY, SEVERITY)
)
ALERTS_SILENCED = Name(
    "latentwatch.alerts.silenced",
    "counter",
    "{alert}",
    "Alerts that were not made, because the system prompt is on the allow-list.",
    (SET_ID, ALLOWED),
)
FEATURE_ACTIVE = Name(
    "latentwatch.feature.active",
    "counter",
    "{alert}",
    "Alerts that a curated feature contributed to.",
    (SET_ID, FEATURE_INDEX),
)
LAG = Name(
    "latentwatch.lag",
    "gauge",
    "{message}",
    "Records that the source has not returned yet; absent while unknown.",
)
QUEUE = Name(
    "latentwatch.queue.depth", "gauge", "{event}", "Records of the current batch: polled and not yet committed."
)
SINK_ALERTS = Name("latentwatch.sink.alerts", "counter", "{alert}", "Alerts that a sink delivered.", (SINK,))
SINK_DURATION = Name("latentwatch.sink.flush.duration", "histogram", "s", "Time that one flush took.", (SINK,))
SINK_FAILURES = Name(
    "latentwatch.sink.failures",
    "counter",
    "{attempt}",
    "Attempts to deliver a batch that failed, by sink; `dead_letter` is the destination of bad records.",
    (SINK,),
)
SINK_DROPPED = Name(
    "latentwatch.sink.dropped",
    "counter",
    "{alert}",
    "Alerts that a sink never got: it is not required and its queue was full, it refused them, or the process ended.",
    (SINK,),
)
COMMITS = Name("latentwatch.commits", "counter", "{commit}", "Commits to the source.")
EXPORT_FAILURES = Name(
    "latentwatch.export.failures", "counter", "{export}", "OTLP exports that failed, by signal.", (SIGNAL,)
)
EXPORT_DROPPED = Name(
    "latentwatch.export.dropped",
    "counter",
    "{item}",
    "Log events and spans dropped: refused by the receiver, queue full, or export failed and not required.",
    (SIGNAL,),
)
CONFIG_INFO = Name(
    "latentwatch.config.info",
    "gauge",
    "",
    "Always 1; the label is the hash of the current configuration.",
    (CONFIG_SHA256,),
)
CONFIG_LOADED = Name(
    "latentwatch.config.load.timestamp", "gauge", "s", "Unix time at which the current configuration came into use."
)
RELOADS = Name(
    "latentwatch.config.reloads",
    "counter",
    "{reload}",
    "Changed configurations that were taken into use, or refused, while the process ran.",
    (RELOAD_OUTCOME,),
)
CONFIG_REFUSED = Name(
    "latentwatch.config.refused",
    "gauge",
    "",
    "1 while the files hold a configuration that was refused, so that an older one is in use; else 0.",
)
METRICS = (
    CONSUMED,
    OPERATION_DURATION,
    PROCESS_DURATION,
    RECORDS,
    BAD_EVENTS,
    UNREAD_PARTS,
    REPAIRED,
    TEMPLATE_FALLBACKS,
    SOURCE_UNREAD,
    SOURCE_FAILURES,
    INTAKE_ACCEPTED,
    INTAKE_REFUSED,
    INTAKE_HELD,
    INTAKE_HELD_SIZE,
    TOKENS,
    TOKENS_CACHED,
    CONFIRMED,
    SAMPLED_OUT,
    WINDOWS,
    READ_DURATION,
    ALERTS,
    ALERTS_SILENCED,
    FEATURE_ACTIVE,
    LAG,
    QUEUE,
    SINK_ALERTS,
    SINK_DURATION,
    SINK_FAILURES,
    SINK_DROPPED,
    COMMITS,
    EXPORT_FAILURES,
    EXPORT_DROPPED,
    CONFIG_INFO,
    CONFIG_LOADED,
    RELOADS,
    CONFIG_REFUSED,
)

# Spans and log events. Braces stand for a value.
POLL = Name(
    "poll {topic}", "span", "CLIENT", "One poll that returned records.", (*_STREAM, OPERATION_TYPE, BATCH_COUNT)
)
PROCESS = Name(
    "process {topic}",
    "span",
    "CONSUMER",
    "One event; linked to the producer's span.",
    (*_STREAM, OPERATION_TYPE, PARTITION, OFFSET, RESPONSE_ID, CONVERSATION_ID, REQUEST_MODEL, SILENCED, ERROR_TYPE),
)
EVALUATE = Name(
    "evaluate {set}",
    "span",
    "INTERNAL",
    "One alert; child of `process {topic}`.",
    (SPAN_KIND, *ALERT_ATTRIBUTES, INPUT_VALUE, OUTPUT_VALUE),
)
RESULT = Name(
    "gen_ai.evaluation.result",
    "event",
    "WARN, ERROR",
    "One alert; ERROR for high and critical, WARN below.",
    (*ALERT_ATTRIBUTES, CONTENT_PROMPT, CONTENT_TEXT),
)


def prometheus_name(row: Name) -> str:
    """The name of a metric on /metrics. Source: OpenTelemetry, Prometheus and OpenMetrics compatibility."""
    name = row.name.replace(".", "_")
    name += {"s": "_seconds", "By": "_bytes"}.get(row.unit, "")
    return f"{name}_total" if row.kind == "counter" else name
