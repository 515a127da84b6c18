"""The first tables: alerts, their features and groups, verdicts and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Creates the tables, their indexes and the index for full-text search."""
    op.create_table(
        "alert_group",
        sa.Column("id", _number, primary_key=True, autoincrement=True),
        sa.Column("likeness", sa.String(64), nullable=False),
        sa.Column("simhash", sa.String(16)),
        sa.Column("last_us", sa.BigInteger, nullable=False),
    )
    op.create_index("alert_group_likeness", "alert_group", ["likeness", "last_us"])
    op.create_table(
        "alert",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("stored_us", sa.BigInteger, nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("set_id", sa.Text, nullable=False),
        sa.Column("set_version", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("tenant", sa.Text),
        sa.Column("conversation_id", sa.Text),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("margin", sa.Float, nullable=False),
        sa.Column("has_text", sa.Boolean, nullable=False),
        sa.Column("group_id", sa.BigInteger, sa.ForeignKey("alert_group.id"), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("assignee", sa.Text),
    )
    for name, columns in _INDEXES.items():
        op.create_index(name, "alert", columns)
    op.create_table(
        "alert_body",
        sa.Column("number", sa.BigInteger, sa.ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("json", sa.Text, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("peek", sa.Text, nullable=False),
        sa.Column("peek_start", sa.Integer, nullable=False),
        sa.Column("peek_end", sa.Integer, nullable=False),
    )
    op.create_table(
        "alert_feature",
        sa.Column("number", sa.BigInteger, sa.ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("latent", sa.BigInteger, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("activation", sa.Float, nullable=False),
        sa.Column("contribution", sa.Float, nullable=False),
    )
    op.create_index("alert_feature_latent", "alert_feature", ["latent", "number"])
    op.create_table(
        "verdict",
        sa.Column("number", sa.BigInteger, sa.ForeignKey("alert.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("reviewer", sa.Text, primary_key=True),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("category", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("entry", _number, primary_key=True, autoincrement=True),
        sa.Column("alert_id", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
    )
    op.create_index("audit_alert", "audit", ["alert_id", "entry"])
    if op.get_bind().dialect.name == "sqlite":
        # its rowid is the alert's number
        op.execute("CREATE VIRTUAL TABLE alert_search USING fts5(words)")
    else:
        op.execute("CREATE INDEX alert_body_words ON alert_body USING gin (to_tsvector('simple', words))")


_INDEXES = {
    "alert_time": ["time_us", "number"],
    "alert_group_time": ["group_id", "time_us"],
    "alert_event": ["event_id"],
    "alert_conversation": ["conversation_id"],
    "alert_set_time": ["set_id", "time_us"],
    # what there is to filter by is counted from this alone
    "alert_choices": ["category", "severity", "set_id", "model", "tenant"],
}


def downgrade() -> None:
    """There is nothing before this."""
    raise NotImplementedError
