"""A stand-in for `latentwatch run` in tests of the demo: reads events, alerts on the risky ones, commits.

Run as `python -m tests.demo.fake_sidecar FAULT CONFIG`; FAULT is none, die, stuck, lose (an alert missing on the
topic), exit (ends with 3) or unready.
"""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
from pathlib import Path

import yaml
from kafka import KafkaConsumer, KafkaProducer

from tests.report.alert_samples import make_alert


class _Probes(http.server.BaseHTTPRequestHandler):
    ready = False
    tokens = 0

    def do_GET(self) -> None:
        body = f"latentwatch_tokens_total {self.tokens}\n".encode()
        self.send_response(200 if self.ready or self.path == "/metrics" else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(fault: str, config_file: str) -> int:
    """Until SIGTERM."""
    config = yaml.safe_load(Path(config_file).read_text())
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    server = http.server.ThreadingHTTPServer((config["health"]["host"], config["health"]["port"]), _Probes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stderr.write("fake sidecar says: \x1b[31mhello\n")
    source = config["source"]
    consumer = KafkaConsumer(
        source["topic"],
        bootstrap_servers=config["kafka"]["bootstrap_servers"],
        group_id=source["group_id"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=source["session_timeout_ms"],
        heartbeat_interval_ms=source["heartbeat_interval_ms"],
    )
    producer = KafkaProducer(bootstrap_servers=config["kafka"]["bootstrap_servers"])
    _Probes.ready = fault != "unready"
    sent = 0
    while not stopping.is_set():
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                if fault == "die":
                    return 7
                event = json.loads(record.value)
                _Probes.tokens += len(event["response"]) // 4
                if event["attributes"]["expected"] == "none":
                    continue
                alert = make_alert(
                    event["response"], category=event["attributes"]["expected"], event_id=event["id"], prompt="?"
                )
                with Path(config["sinks"]["jsonl"]["path"]).open("a", encoding="utf-8") as file:
                    file.write(alert.to_json() + "\n")
                if fault != "lose" or sent:
                    producer.send(config["sinks"]["kafka"]["topic"], value=alert.to_json().encode())
                sent += 1
        producer.flush()
        if fault != "stuck":
            consumer.commit()
    consumer.close()
    producer.close()
    return 3 if fault == "exit" else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
