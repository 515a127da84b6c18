"""LatentwatchCallback: publishes every call that goes through LiteLLM, proxy or SDK, as an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from monitor.producers.headers import HeaderNames
from monitor.producers.publisher import Encoded, Publisher
from monitor.producers.transport import Message

_FIELDS = (
    "id",
    "call_type",
    "status",
    "model",
    "messages",
    "response",
    "startTime",
    "endTime",
    "trace_id",
    "litellm_call_id",
)
"""What is published of LiteLLM's payload; keys, addresses and costs are not."""


class LatentwatchCallback(CustomLogger):
    """A LiteLLM callback. LiteLLM calls it after the response has gone out, and with the whole of a streamed one."""

    def __init__(self, publisher: Publisher, headers: HeaderNames | None = None) -> None:
        """`headers` names those of requests to LiteLLM's proxy that become attributes."""
        super().__init__()
        self._publisher = publisher
        self._headers = headers or HeaderNames()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call without async succeeded."""
        self._publish(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """An async call succeeded."""
        self._publish(kwargs)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call without async failed; its prompt is an event all the same."""
        self._publish(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """An async call failed; its prompt is an event all the same."""
        self._publish(kwargs)

    def _publish(self, kwargs: Mapping[str, Any]) -> None:
        try:
            payload = kwargs.get("standard_logging_object")
            if isinstance(payload, Mapping):
                self._publisher.publish(Encoded(self._message(payload, _request_headers(kwargs))))
        except Exception as e:  # noqa: BLE001 - LiteLLM would log the exception with its text
            self._publisher.drop(type(e).__name__)

    def _message(self, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Message:
        event = {name: payload[name] for name in _FIELDS if payload.get(name) is not None}
        event["metadata"] = self._headers.attributes(headers)
        value = json.dumps(event, ensure_ascii=False, default=_plain).encode(errors="replace")
        traceparent = self._headers.traceparent_of(headers)
        if traceparent is None:
            return Message(value)
        return Message(value, (("traceparent", traceparent.encode(errors="replace")),))


def _request_headers(kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Those of the request to the proxy, with names in lower case; none in the SDK."""
    request = (kwargs.get("litellm_params") or {}).get("proxy_server_request") or {}
    headers = request.get("headers") or {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.model_dump() if hasattr(value, "model_dump") else str(value)
