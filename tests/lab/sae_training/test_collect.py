"""Collecting: what is stored, and that a killed run continues as if it had never stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.errors import ConfigError, Permanent
from monitor.lab.sae_training.activation_store import ActivationStore
from monitor.lab.sae_training.collect import CollectProgress, CollectRequest, collect
from monitor.lab.sae_training.row_stream import TextOptions
from tests.lab.small_llama import CONTEXT, D_MODEL

ROOT = Path(__file__).parents[3]


class Stopped(Exception):
    pass


def request(model: Path, texts: Path, out: Path, **changes: object) -> CollectRequest:
    whole = CollectRequest(
        sources=(str(texts / "chats.jsonl"), str(texts / "code")),
        model=str(model),
        layers=(0, 1),
        out=out,
        text=TextOptions(CONTEXT, held_out=0.2),
        precision="float32",
        shard_tokens=8 * CONTEXT,
        batch_rows=4,
        threads=1,
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


def test_what_is_stored(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    seen: list[CollectProgress] = []
    store = collect(request(small_llama, texts, tmp_path / "s"), seen.append)
    manifest = ActivationStore.open(tmp_path / "s").manifest
    assert manifest == store.manifest
    assert manifest.complete
    assert manifest.unreadable == {"chats.jsonl": 1}
    assert len(manifest.of("train")) > 2
    assert manifest.tokens("held_out") > 0
    assert seen[-1].stored == manifest.tokens("train") + manifest.tokens("held_out")
    special = [1, 2]
    documents = {"train": set[int](), "held_out": set[int]()}
    for shard in manifest.shards:
        acts = [store.activations(shard, layer) for layer in (0, 1)]
        rows = list(store.rows(shard))
        kept = np.concatenate([row.ids[row.kept] for row in rows])
        assert acts[0].shape == acts[1].shape == (shard.tokens, D_MODEL) == (kept.size, D_MODEL)
        assert acts[0].dtype == torch.float16
        assert not np.isin(kept, special).any()
        assert not any(row.kept[row.positions == 0].any() for row in rows)
        documents[shard.split] |= {int(d) for row in rows for d in row.documents if d >= 0}
    assert not documents["train"] & documents["held_out"], "no document is in both splits"


def test_a_run_that_was_stopped_makes_the_same_shards(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    collect(request(small_llama, texts, tmp_path / "whole"))
    whole = contents(tmp_path / "whole")

    def stop(progress: CollectProgress) -> None:
        if progress.stored > 600:
            raise Stopped

    with pytest.raises(Stopped):
        collect(request(small_llama, texts, tmp_path / "parts"), stop)
    finished = contents(tmp_path / "parts")
    assert 1 < len(finished) < len(whole)
    (tmp_path / "parts" / "train-00099.part").write_bytes(b"half a shard")
    seen: list[CollectProgress] = []
    collect(request(small_llama, texts, tmp_path / "parts"), seen.append)
    shards = {name: sha for name, sha in contents(tmp_path / "parts").items() if name != "manifest.json"}
    assert shards == {name: sha for name, sha in whole.items() if name != "manifest.json"}
    assert seen[0].before > 0
    assert seen[0].stored < 600, "what was finished is not read again"
    collect(request(small_llama, texts, tmp_path / "parts"), lambda _: pytest.fail("nothing is left to read"))


def test_a_killed_process_leaves_no_half_shard(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "monitor", "lab", "collect", str(texts / "chats.jsonl"), str(texts / "code")]
    options = ["--model", str(small_llama), "--layers", "0,1", "--out", str(out), "--context", str(CONTEXT)]
    options += ["--shard-tokens", str(2 * CONTEXT), "--batch-rows", "1", "--threads", "1", "--held-out", "0.2"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        while not (out / "train-00002.safetensors").exists():
            assert process.poll() is None, "ended before it was killed"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    store = ActivationStore.open(out)
    for shard in store.manifest.shards:
        assert hashlib.sha256((out / shard.file).read_bytes()).hexdigest() == shard.sha256
    small = {"shard_tokens": 2 * CONTEXT, "batch_rows": 1, "precision": "bfloat16", "max_norm": 3000.0}
    collect(request(small_llama, texts, out, **small))
    collect(request(small_llama, texts, tmp_path / "whole", **small))
    killed, whole = contents(out), contents(tmp_path / "whole")
    killed.pop("manifest.json"), whole.pop("manifest.json")
    assert killed == whole


def test_another_run_does_not_go_on_with_it(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    collect(request(small_llama, texts, tmp_path / "s"))
    for changes in ({"layers": (0,)}, {"max_norm": 5.0}, {"text": TextOptions(CONTEXT, seed=1, held_out=0.2)}):
        with pytest.raises(ConfigError, match="another run"):
            collect(request(small_llama, texts, tmp_path / "s", **changes))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        collect(request(small_llama, texts, tmp_path / "other"))
    assert (tmp_path / "other" / "file").read_text() == "mine"


def test_tokens_bound_what_is_stored(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    few = collect(request(small_llama, texts, tmp_path / "s", text=TextOptions(CONTEXT, tokens=300, held_out=0.2)))
    stored = few.manifest.tokens("train") + few.manifest.tokens("held_out")
    assert 300 <= stored < 300 + 3 * CONTEXT


def test_a_norm_for_another_model_is_refused(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"of \d+ tokens have a longer residual than --max-norm 0.001"):
        collect(request(small_llama, texts, tmp_path / "s", max_norm=0.001))


def test_a_context_longer_than_the_model_is_refused(small_llama: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reads at most 128"):
        collect(request(small_llama, texts, tmp_path / "s", text=TextOptions(129)))
    assert not (tmp_path / "s").exists()
