"""What reading two layers costs, next to the deeper one alone: `python -m tests.assembly.layers_cost`.

The sets of the second layer are copies of the shipped ones with the same SAE. Its features mean nothing there, but cost
the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import yaml

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.bench.workloads import short_chats
from monitor.config.sections import Config
from monitor.engine import Engine
from monitor.events.event import Event
from monitor.sets.load import builtin_folder

SHIPPED = builtin_folder() / "smollm2-135m-instruct" / "resid-post-14-batchtopk-10k"
SETS = ("bias", "sycophancy", "dangerous_advice", "unsafe_code")
LAYER = 10
ROUNDS = 5


def sets_of_layer(folder: Path, layer: int) -> list[Path]:
    """Copies of the shipped sets that are read after block `layer`."""
    shutil.copytree(SHIPPED / "sae", folder / "sae", ignore=shutil.ignore_patterns("reference.safetensors"))
    settings = json.loads((folder / "sae/cfg.json").read_text())
    settings["metadata"]["hook_name"] = f"blocks.{layer}.hook_resid_post"
    (folder / "sae/cfg.json").write_text(json.dumps(settings))
    reader = yaml.safe_load((SHIPPED / "reader.yaml").read_text())
    (folder / "reader.yaml").write_text(yaml.safe_dump({**reader, "layer": layer}))
    for name in SETS:
        shutil.copy(SHIPPED / f"{name}.safetensors", folder)
        data = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())
        del data["summary"]  # of the figures in a file that is not copied
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**data, "id": f"{name}_{layer}"}))
    return [folder / f"{name}.yaml" for name in SETS]


def seconds(engine: Engine, events: Sequence[Event]) -> float:
    """For all events."""
    started = time.perf_counter()
    for _ in engine.evaluate(events):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Reads the same chats with both engines in turn; the ratio is the median over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="auto", choices=("auto", "int8", "fp32"))
    parser.add_argument("--events", type=int, default=96)
    asked = parser.parse_args()
    events = short_chats(asked.events, "layers")
    with tempfile.TemporaryDirectory() as folder:
        further = [str(path) for path in sets_of_layer(Path(folder), LAYER)]
        shipped = [str(SHIPPED / f"{name}.yaml") for name in SETS]
        alone, both = (_engine(paths, asked.precision, folder) for paths in (shipped, [*shipped, *further]))
        times = [(seconds(alone, events), seconds(both, events)) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    ratio = median(two / one for one, two in times)
    one, two = (median(column) for column in zip(*times, strict=True))
    sys.stdout.write(
        f"{asked.precision}, {len(events)} short chats: layer 14 in {one:.2f} s, layers 14 and {LAYER} in {two:.2f} s: "
        f"{ratio:.2f} times\n"
    )


def _engine(paths: Sequence[str], precision: str, folder: str) -> Engine:
    reader = {"cache_dir": f"{folder}/cache", "prefix_cache_bytes": 0, "precision": precision}
    config = Config.model_validate({"reader": reader, "feature_sets": {"paths": list(paths)}})
    return build_engine(config, load_artefacts(config))


if __name__ == "__main__":
    main()
