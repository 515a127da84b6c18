"""The names of every metric, span, log event and attribute that latentwatch emits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.telemetry.buckets import AGES, SCORES, SECONDS

RecordOutcome = Literal["judged", "sampled_out", "nothing_to_judge", "partly_judged", "dead_lettered"]
"""What becomes of a record; partly judged ones are dead-lettered as well, because of what is bad in them."""
Kind = Literal["counter", "histogram", "gauge", "span", "event", "attribute", "resource"]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the OpenTelemetry conventions that the names below follow."""


@dataclass(frozen=True)
class Name:
    """One name. `attributes` are what a metric, span or event may carry; `unit` is a UCUM unit or a type."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS
    """Of a histogram."""


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
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
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
SET_VERSION = "latentwatch.set.version"
SET_SHA256 = "latentwatch.set.sha256"
CATEGORY = "latentwatch.category"
DETECTOR = "latentwatch.detector"
THRESHOLD = "latentwatch.score.threshold"
SCORE_UNIT = "latentwatch.score.unit"
LANGUAGE = "latentwatch.language"
SEGMENT_NAME = "latentwatch.segment.name"
SEGMENT_INDEX = "latentwatch.segment.index"
SEGMENT_TOKENS = "latentwatch.segment.tokens"
FEATURE_INDEX = "latentwatch.feature.index"
FEATURE_INDICES = "latentwatch.feature.indices"
FEATURE_LABELS = "latentwatch.feature.labels"
FEATURE_ACTIVATIONS = "latentwatch.feature.activations"
FEATURE_CONTRIBUTIONS = "latentwatch.feature.contributions"
FEATURE_TOKENS = "latentwatch.feature.tokens"
FEATURE_SHARES = "latentwatch.feature.shares"
UNNAMED_FEATURES = "latentwatch.unnamed.features"
UNNAMED_SHARE = "latentwatch.unnamed.share"
PROBE_SHARE = "latentwatch.probe.share"
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
READ_TOKENS = "latentwatch.read.tokens"
READ_WINDOWS = "latentwatch.read.windows"
CONFIRMED_BY_FLOAT32 = "latentwatch.read.confirmed"
ATTRIBUTE = "latentwatch.attribute.{name}"
"""An attribute that alerts.attributes chooses."""

STREAM = (SYSTEM, OPERATION, DESTINATION, GROUP, CLIENT_ID, SERVER_ADDRESS, SERVER_PORT)
_PARTITION = (DESTINATION, PARTITION)
_RULE = (RULE_UUID, RULE_NAME, RULE_VERSION, RULE_CATEGORY, RULE_DESCRIPTION, RULESET_NAME)
_SCORE = (EVALUATION_NAME, SCORE_VALUE, SCORE_LABEL, EXPLANATION, RESPONSE_ID, CONVERSATION_ID, REQUEST_MODEL)
_MATCH = (DETECTOR, THRESHOLD, SCORE_UNIT, RULES, SEGMENT_NAME, SEGMENT_INDEX, SEGMENT_TOKENS)
_FEATURES = (FEATURE_INDICES, FEATURE_LABELS, FEATURE_ACTIVATIONS, FEATURE_CONTRIBUTIONS, FEATURE_TOKENS)
_EVIDENCE = (*_FEATURES, FEATURE_SHARES, UNNAMED_FEATURES, UNNAMED_SHARE, PROBE_SHARE)
_READ_WITH = (READER_MODEL, READER_MODEL_SHA256, READER_LAYER, READER_HOOK, SAE_SHA256, CONFIG_SHA256)
ALERT_ATTRIBUTES = (*_SCORE, *_RULE, ALERT_ID, SEVERITY, SET_STATUS, *_MATCH, *_EVIDENCE, *_READ_WITH, ATTRIBUTE)

# Metrics.
CONSUMED = Name(
    "messaging.client.consumed.messages", "counter", "{message}", "Records that the source returned.", STREAM
)
OPERATION_DURATION = Name(
    "messaging.client.operation.duration",
    "histogram",
    "s",
    "Time that one poll took, waiting included.",
    (*STREAM, ERROR_TYPE),
)
PROCESS_DURATION = Name(
    "messaging.process.duration",
    "histogram",
    "s",
    "Time to evaluate one event: its share of the time that its group took.",
    (*STREAM, ERROR_TYPE),
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
    "Events that were not read, because a rule samples them or, as the rule `overload`, too many waited.",
    (RULE,),
)
WINDOWS = Name("latentwatch.windows", "counter", "{window}", "Windows that the model read.")
READ_DURATION = Name(
    "latentwatch.read.duration",
    "histogram",
    "s",
    "Time that the model took to read one event: its share of the time that its group took.",
)
JUDGED = Name(
    "latentwatch.events.judged",
    "counter",
    "{event}",
    "Events that were read and judged, by the attributes that the config chooses.",
    (ATTRIBUTE,),
)
EVENT_AGE = Name(
    "latentwatch.event.age",
    "histogram",
    "s",
    "Time from a record's timestamp to the commit that it is part of.",
    buckets=AGES,
)
SCORE = Name(
    "latentwatch.score",
    "histogram",
    "",
    "Score of every judged event that a set scores, whether it alerts or not.",
    (SET_ID, CATEGORY),
    SCORES,
)
ALERTS = Name(
    "latentwatch.alerts",
    "counter",
    "{alert}",
    "Alerts by set, category, severity and the attributes that the config chooses.",
    (SET_ID, CATEGORY, SEVERITY, ATTRIBUTE),
)
ALERTS_SILENCED = Name(
    "latentwatch.alerts.silenced",
    "counter",
    "{alert}",
    "Alerts that were not made, because the system prompt is on the allow-list.",
    (SET_ID, ALLOWED),
)
ABSTENTIONS = Name(
    "latentwatch.abstentions", "counter", "{segment}", "Segments outside a set's languages.", (SET_ID, LANGUAGE)
)
FEATURE_ACTIVE = Name(
    "latentwatch.feature.active",
    "counter",
    "{event}",
    "Judged events in which a feature that the set's file names was active, whether they alert or not.",
    (SET_ID, FEATURE_INDEX),
)
LAG = Name(
    "latentwatch.lag",
    "gauge",
    "{message}",
    "Records of a partition that the source has not returned yet; absent while unknown.",
    _PARTITION,
)
POSITION = Name(
    "latentwatch.position",
    "gauge",
    "{offset}",
    "Offset of the next record of a partition that the source returns; absent while unknown.",
    _PARTITION,
)
PARTITIONS = Name(
    "latentwatch.partitions.assigned", "gauge", "{partition}", "Partitions that this process reads; absent if unknown."
)
READY = Name("latentwatch.ready", "gauge", "", "1 while /readyz answers 200; else 0.")
LAST_EVENT = Name(
    "latentwatch.last_event.timestamp", "gauge", "s", "Unix time at which the source last returned a record."
)
LAST_COMMIT = Name("latentwatch.last_commit.timestamp", "gauge", "s", "Unix time of the last commit of a batch.")
LAST_ALERT = Name("latentwatch.last_alert.timestamp", "gauge", "s", "Unix time at which the last alert was made.")
QUEUE = Name(
    "latentwatch.queue.depth", "gauge", "{event}", "Records of the current batch: polled and not yet committed."
)
SINK_ALERTS = Name(
    "latentwatch.sink.alerts", "counter", "{alert}", "Alerts that a sink delivered; as `dead_letter`, records.", (SINK,)
)
SINK_DURATION = Name("latentwatch.sink.flush.duration", "histogram", "s", "Time that one flush took.", (SINK,))
SINK_FAILURES = Name(
    "latentwatch.sink.failures", "counter", "{attempt}", "Deliveries of a batch that failed, by sink.", (SINK,)
)
SINK_DROPPED = Name(
    "latentwatch.sink.dropped", "counter", "{alert}", "Alerts that a sink never got and never will.", (SINK,)
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
    "Always 1; the labels are the hash of the current configuration and what it reads with.",
    _READ_WITH,
)
SET_INFO = Name(
    "latentwatch.set.info",
    "gauge",
    "",
    "Always 1; one for every feature set in use.",
    (SET_ID, CATEGORY, SET_STATUS, SET_VERSION, SET_SHA256),
)
SET_THRESHOLD = Name(
    "latentwatch.set.threshold",
    "gauge",
    "",
    "Lowest score that raises an alert, unless a rule changes it.",
    (SET_ID, CATEGORY),
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
METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Name))

# Spans and log events. Braces stand for a value.
POLL = Name("poll {topic}", "span", "CLIENT", "One poll that returned records.", (*STREAM, OPERATION_TYPE, BATCH_COUNT))
PROCESS = Name(
    "process {topic}",
    "span",
    "CONSUMER",
    "One event; linked to the producer's span.",
    (
        *(*STREAM, OPERATION_TYPE, PARTITION, OFFSET, RESPONSE_ID, CONVERSATION_ID, REQUEST_MODEL, SILENCED),
        *(ERROR_TYPE, SPAN_KIND, ATTRIBUTE),
    ),
)
READ = Name(
    "read {model}",
    "span",
    "INTERNAL",
    "The model reads one event; child of `process {topic}`.",
    (READ_TOKENS, READ_WINDOWS, CONFIRMED_BY_FLOAT32, READER_MODEL),
)
DELIVER = Name(
    "deliver {sink}",
    "span",
    "CLIENT",
    "A required sink delivers the alerts of one batch; child of `poll {topic}`.",
    (SINK, BATCH_COUNT, ERROR_TYPE),
)
COMMIT = Name(
    "commit {topic}",
    "span",
    "CLIENT",
    "One batch is committed; child of `poll {topic}`.",
    (*STREAM, OPERATION_TYPE, BATCH_COUNT),
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
