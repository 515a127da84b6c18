"""OtlpReceiver: an OTLP/HTTP receiver for tests; keeps what it gets, and can be slow, broken or picky."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def attributes(item: Any) -> dict[str, Any]:
    """The attributes of a log record, span, data point or resource as Python values."""
    return {pair.key: _value(pair.value) for pair in item.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)


class OtlpReceiver:
    """Listens while in a `with` block. `status`, `delay_s`, `headers` and `rejected` shape the answers."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.delay_s = 0.0
        self.rejected = 0
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(receiver.delay_s)
                if receiver.status == 200:
                    headers = {k.lower(): v for k, v in self.headers.items()}
                    receiver.requests.append((self.path, headers, gzip.decompress(body)))
                answer = ExportLogsServiceResponse()
                if receiver.rejected:
                    answer.partial_success.rejected_log_records = receiver.rejected
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(answer.SerializeToString())

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that gave up waiting
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> OtlpReceiver:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def logs(self) -> list[Any]:
        """All log records, in order of arrival."""
        bodies = [ExportLogsServiceRequest.FromString(b) for path, _, b in self.requests if path == "/v1/logs"]
        return [r for b in bodies for res in b.resource_logs for scope in res.scope_logs for r in scope.log_records]

    def spans(self) -> list[Any]:
        """All spans, in order of arrival."""
        bodies = [ExportTraceServiceRequest.FromString(b) for path, _, b in self.requests if path == "/v1/traces"]
        return [s for b in bodies for res in b.resource_spans for scope in res.scope_spans for s in scope.spans]

    def metrics(self) -> dict[str, Any]:
        """The last state of every metric by name."""
        bodies = [ExportMetricsServiceRequest.FromString(b) for path, _, b in self.requests if path == "/v1/metrics"]
        return {
            m.name: m
            for b in bodies
            for res in b.resource_metrics
            for scope in res.scope_metrics
            for m in scope.metrics
        }

    def schema_urls(self) -> set[str]:
        """Of every scope of spans, logs and metrics."""
        kinds: dict[str, tuple[Any, str]] = {
            "/v1/traces": (ExportTraceServiceRequest, "spans"),
            "/v1/logs": (ExportLogsServiceRequest, "logs"),
            "/v1/metrics": (ExportMetricsServiceRequest, "metrics"),
        }
        return {
            scope.schema_url
            for path, _, body in self.requests
            for message, what in [kinds[path]]
            for resource in getattr(message.FromString(body), f"resource_{what}")
            for scope in getattr(resource, f"scope_{what}")
        }
