"""`latentwatch check` as a child process: all is well, or everything that is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.load import load_config
from monitor.demo.broker import EmbeddedBroker
from monitor.sets.load import load_feature_sets
from tests.brokers import free_ports
from tests.integration.sidecar import latentwatch, write_config
from tests.integration.stream import Stream
from tests.shipped_sets import copy_set

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]


def changed(config: Path, **sections: dict[str, Any]) -> Path:
    data = yaml.safe_load(config.read_text())
    for name, section in sections.items():
        data[name] = data.get(name, {}) | section
    config.write_text(yaml.safe_dump(data))
    return config


@pytest.fixture
def config(embedded_broker: EmbeddedBroker, tmp_path: Path) -> Path:
    return write_config(tmp_path, embedded_broker, Stream(embedded_broker))


@pytest.fixture
def damaged_set(tmp_path: Path) -> Path:
    """A shipped set with its SAE, one bit of which has turned."""
    wanted = load_config(None, os.environ).feature_sets
    loaded = load_feature_sets(wanted.paths, wanted.only)[0]
    folder = tmp_path / "sets"
    copied = copy_set(loaded.set.id, folder).parent / "sae"
    shutil.copytree(loaded.sae_folder, copied)
    shutil.copyfile(loaded.path.parent / "reader.yaml", folder / "reader.yaml")
    weights = copied / "sae_weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    return folder


def test_all_is_well(config: Path) -> None:
    done = latentwatch("check", "-c", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "✓ config",
        "✓ health port",
        "✓ alert file",
        "✓ Kafka",
        "✓ feature sets",
        "✓ model and SAE",
        "✓ reader",
        "✓ cores and memory",
    ]
    assert done.stderr == ""


def test_all_faults_of_a_config_are_told_at_once(config: Path) -> None:
    config = changed(config, sink={"x": 1}, source={"max_pol_records": 3}, reader={"window_tokens": 1})
    done = latentwatch("check", "-c", str(config), timeout_s=60)
    assert done.returncode == 2
    for problem in (
        f"{config}: sink: unknown key",
        f"{config}: source.max_pol_records: unknown key",
        f"{config}: reader.window_tokens: Input should be greater than or equal to 64",
    ):
        assert problem in done.stdout, done.stdout


def test_a_damaged_sae_and_a_missing_topic_are_told_at_once(config: Path, damaged_set: Path) -> None:
    config = changed(config, source={"topic": "nobody-made-this"}, feature_sets={"overrides": {}})
    done = latentwatch("check", "-c", str(config), LATENTWATCH__FEATURE_SETS__PATHS=f"[{damaged_set}]", timeout_s=60)
    assert done.returncode == 2
    assert "sae_weights.safetensors: sha256 is " in done.stdout
    assert "source.topic: nobody-made-this: the topic does not exist" in done.stdout


def test_a_damaged_sae_and_an_absent_broker_are_told_at_once(config: Path, damaged_set: Path) -> None:
    (port,) = free_ports(1)
    config = changed(config, kafka={"bootstrap_servers": f"127.0.0.1:{port}"}, feature_sets={"overrides": {}})
    done = latentwatch("check", "-c", str(config), LATENTWATCH__FEATURE_SETS__PATHS=f"[{damaged_set}]", timeout_s=60)
    assert done.returncode == 2
    assert "sae_weights.safetensors: sha256 is " in done.stdout
    assert f"127.0.0.1:{port}" in done.stdout
