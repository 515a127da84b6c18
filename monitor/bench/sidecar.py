"""The sidecar of a benchmark: its config, with a broker and sinks of the benchmark's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monitor.config.sections import Config
from monitor.demo.run import demo_config


def sidecar_config(
    config: Config, bundle: Path, precision: str, servers: str, folder: Path, port: int
) -> dict[str, Any]:
    """Reader, sets and alerts as configured; alerts go to `folder`, and health checks to `port`."""
    reader = config.reader.model_dump(mode="json", exclude_defaults=True, exclude={"device", "dtype", "precision"})
    own = demo_config(servers, folder / "alerts.jsonl", port)
    return {
        **own,
        "reader": {**reader, "engine": "onnx", "bundle": str(bundle.resolve()), "precision": precision},
        "feature_sets": config.feature_sets.model_dump(mode="json", exclude_defaults=True),
        "alerts": config.alerts.model_dump(mode="json", exclude_defaults=True),
    }
