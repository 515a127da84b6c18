"""onnxruntime with its usage reports turned off before it loads; versions from 1.32 on send them by default."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]

onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
