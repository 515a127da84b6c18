"""sample_alert: an alert that every field is set in, to try templates on before the first real one."""

from __future__ import annotations

from datetime import UTC, datetime

from monitor.alerts.alert import Alert


def sample_alert(content: bool) -> Alert:
    """A made-up alert; `content` says whether it carries text."""
    now = datetime.now(UTC)
    token = {"start": 0, "end": 4, "activation": 1.0, "text": "text" if content else None}
    return Alert.model_validate(
        {
            "id": "0" * 32,
            "time": now,
            "severity": "high",
            "message": "feature active: sample",
            "event": {
                "id": "sample",
                "time": now,
                "model": "sample",
                "conversation_id": "sample",
                "origin": {"topic": "sample", "partition": 0, "offset": 0},
            },
            "set": {
                "id": "sample",
                "version": "1.0.0",
                "sha256": "0" * 64,
                "category": "sample",
                "title": "Sample",
                "status": "test",
            },
            "detector": "weighted",
            "score": 0.9,
            "threshold": 0.5,
            "unit": "logistic",
            "segment": {"name": "response", "index": 0, "tokens": 1, "chars": 4},
            "features": [
                {
                    "index": 1,
                    "label": "sample",
                    "activation": 1.0,
                    "contribution": 1.0,
                    "threshold": None,
                    "weight": 1.0,
                    "tokens": [token],
                }
            ],
            "reader": {
                "model": "sample",
                "model_sha256": "0" * 64,
                "layer": 0,
                "hook": "resid_post",
                "sae_sha256": "0" * 64,
                "activation_basis": "raw",
            },
            "config_sha256": "0" * 64,
            "trace_id": "1" * 32,
            "traceparent": f"00-{'1' * 32}-{'1' * 16}-01",
            "content": {"prompt": "text", "text": "text", "strengths": []} if content else None,
        }
    )
