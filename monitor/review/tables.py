"""The tables of the review page's database, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# SQLite numbers rows by itself only in a column of exactly this type
_Number = BigInteger().with_variant(Integer, "sqlite")

# Narrow on purpose: lists and counts scan this table, texts are in alert_body.
alert = Table(
    "alert",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("time_us", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("stored_us", BigInteger, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("category", Text, nullable=False),
    Column("set_id", Text, nullable=False),
    Column("set_version", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("model", Text),  # that wrote the response
    Column("tenant", Text),
    Column("conversation_id", Text),
    Column("score", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("margin", Float, nullable=False),  # of the score above the threshold, on the detector's scale
    Column("has_text", Boolean, nullable=False),
    Column("group_id", BigInteger, ForeignKey("alert_group.id"), nullable=False),
    Column("verdict", String(16)),  # of all reviewers together; see Verdict
    Column("assignee", Text),
)

alert_body = Table(
    "alert_body",
    metadata,
    Column("number", BigInteger, ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
    Column("json", Text, nullable=False),
    Column("words", Text, nullable=False),  # what full-text search looks at
    Column("peek", Text, nullable=False),  # for lists; its characters peek_start to peek_end are the strongest token
    Column("peek_start", Integer, nullable=False),
    Column("peek_end", Integer, nullable=False),
)

alert_feature = Table(
    "alert_feature",
    metadata,
    Column("number", BigInteger, ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),  # 0 is the strongest
    Column("latent", BigInteger, nullable=False),
    Column("label", Text, nullable=False),
    Column("activation", Float, nullable=False),
    Column("contribution", Float, nullable=False),
)

alert_group = Table(
    "alert_group",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("likeness", String(64), nullable=False),  # hash of set and strongest features
    Column("simhash", String(16)),  # of the first alert's text; None if it has none
    Column("last_us", BigInteger, nullable=False),
)

verdict = Table(
    "verdict",
    metadata,
    Column("number", BigInteger, ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
    Column("reviewer", Text, primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("category", Text),  # if the reviewer says that it is another one
    Column("note", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("entry", _Number, primary_key=True, autoincrement=True),
    Column("alert_id", Text, nullable=False),  # not a foreign key: the trail outlives the alert
    Column("time_us", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("before", Text),
    Column("after", Text),
)
