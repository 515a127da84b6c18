"""onnxruntime sends no usage data and leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_loading_it_leaves_nothing_in_the_users_folders(tmp_path: Path) -> None:
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "TMPDIR")}
    environment = {**os.environ, **places}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = "from monitor.readers.onnx.runtime import onnxruntime; print(onnxruntime.get_device())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "CPU\n"
    assert [p.name for p in tmp_path.rglob("*")] == []
