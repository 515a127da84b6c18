"""onnxruntime, told before it loads that it may not send usage data: from 1.32 on, it does so unless it is."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]

onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
