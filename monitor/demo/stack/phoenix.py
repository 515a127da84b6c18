"""Phoenix as a child process: a page of the spans."""

from __future__ import annotations

import json
import os
from pathlib import Path

from monitor.demo.web_process import WebProcess

PROJECT = "latentwatch"
LISTENS = (
    "Phoenix also takes spans over gRPC on port {port} of all addresses of this machine; it has no setting for that."
)


class Phoenix(WebProcess):
    """Its database and its log lie in `folder`. It sends nothing out and runs no assistant."""

    def __init__(self, program: str, folder: Path, port: int, grpc_port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc_port),
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
            "PHOENIX_AGENTS_DISABLE_BASH": "true",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PHOENIX_")}
        super().__init__(
            "Phoenix", [program, "serve"], folder / "phoenix.log", port, "/healthz", {**kept, **environment}
        )

    def alerts(self) -> int:
        """How many of the newest spans are alerts; 0 while there are none."""
        status, body = self._get(f"/v1/projects/{PROJECT}/spans?limit=1000")
        return sum(span["name"].startswith("evaluate ") for span in json.loads(body)["data"]) if status == 200 else 0
