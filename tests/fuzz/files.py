"""Hostile files: each one is either read, or refused by the error that its reader promises."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from safetensors.numpy import save

from detectors.feature_set import ReaderRef
from monitor.alerts.alert import Alert
from monitor.config.load import load_config
from monitor.lab.labelling.label_file import read_names
from monitor.lab.labelling.neuronpedia import read_explanations
from monitor.model.gguf.file import GgufFile
from monitor.readers.onnx.bundle import load_bundle
from monitor.readers.onnx.manifest import BUNDLE_FORMAT
from monitor.readers.tensor_file import load_tensors
from monitor.report.event_card import event_card
from monitor.report.flagged_event import flagged_events
from monitor.review.alert_rows import alert_rows
from monitor.sae.sae_format import open_sae
from monitor.sae.storage import load_stored_sae, store_sae
from monitor.sets.feature_cards import CARDS_FILE, load_cards
from monitor.sets.labels import load_labels
from monitor.sets.load import load_feature_set
from tests.alert_factory import make_alert, make_content
from tests.feature_set_factory import set_data, summed_data, weighted_data
from tests.fuzz.model_targets import MODEL_TARGETS
from tests.fuzz.target import Target, as_json, fault_of

ROOT = Path(__file__).parents[2]
# what readers of text, of numbers and of binary files trip over
TOKENS = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"99999999999999999999999", b"1e308", b"0x1f"),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b":", b",", b"\n", b"- ", b"? ", b"|", b">", b"#", b"&a ", b"*a", b"<<: "),
    *(b"!!python/object/apply:os.system [x]", b"!!binary x", b"!!set {a}", b"!!float x", b"2025-13-01", b"1:30"),
    *(b"\\ud800", b"\xed\xa0\x80", b"\x00", b"\x1b[2J", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xc0\x80"),
    *(b"../../etc/passwd", b"/dev/zero", b"%s%n", b"{{ 7 * 7 }}", b"<script>", b"__class__", b"a" * 3_000),
    *(b"[" * 150, b"{a: " * 150, b'{"a":' * 1_200, b"[" * 1_200),
    *(struct.pack("<Q", n) for n in (0, 1, 2**31, 2**32, 2**53, 2**63, 2**64 - 1)),
    *(struct.pack("<I", n) for n in (0, 1, 8, 9, 2**31 - 1, 2**32 - 1)),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def _configs() -> list[bytes]:
    pages = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("configuration.md", "tuning.md")]
    examples = [found for page in pages for found in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    return [example.encode() for example in examples if "jobs:" not in example]


def _sets() -> list[bytes]:
    return [yaml.safe_dump(data, sort_keys=False).encode() for data in (set_data(), summed_data(), weighted_data())]


@cache
def _sae_tensors() -> bytes:
    shapes = {"W_enc": (4, 8), "W_dec": (8, 4), "b_enc": (8,), "b_dec": (4,)}
    return save({name: np.ones(shape, np.float32) for name, shape in shapes.items()})


def _sae_settings() -> bytes:
    metadata = {"hook_name": "blocks.9.hook_resid_post", "model_name": "a-model"}
    return as_json(
        {
            "architecture": "standard",
            "d_in": 4,
            "d_sae": 8,
            "dtype": "float32",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "metadata": metadata,
        }
    )


def _stored(folder: Path) -> bytes:
    path = folder / "stored.safetensors"
    (folder / "cfg.json").write_bytes(_sae_settings())
    (folder / "sae_weights.safetensors").write_bytes(_sae_tensors())
    store_sae(path, open_sae(folder))
    return path.read_bytes()


@cache
def _stored_sae() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return _stored(Path(folder))


def _gguf() -> list[bytes]:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 2),
        text("llama.rope.freq_base") + struct.pack("<If", 6, 1e4),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 1, 2),
    ]
    tensor = text("token_embd.weight") + struct.pack("<I2QIQ", 2, 32, 2, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return [head + bytes(-len(head) % 32) + bytes(256)]


def _manifest() -> bytes:
    model: dict[str, Any] = {"sha256": "a" * 64, "model_type": "llama", "layer": 9, "hook": "resid_post", "d_model": 4}
    model |= {"heads": 2, "kv_heads": 1, "head_dim": 2, "windows": [0], "max_tokens": 9, "embedding_scale": 1.0}
    model |= {"four_bit": False}
    sae = {"sha256": "b" * 64, "architecture": "relu", "width": 8, "activation_basis": "raw", "max_norm": None}
    return as_json(
        {
            "format": BUNDLE_FORMAT,
            "latentwatch": "0",
            "machine": "x",
            "model": model,
            "sae": sae,
            "files": {"a.onnx": "c" * 64},
        }
    )


def _alerts() -> list[bytes]:
    return [make_alert(content=make_content()).to_json().encode(), make_alert("b").to_json().encode()]


def _shown(path: Path) -> None:
    """As the review page stores an alert, and as the report shows it."""
    alert = Alert.from_json(path.read_bytes())
    for event in flagged_events([alert]):
        event_card(event)
    alert_rows(alert)


def _labels() -> bytes:
    score = {"detection": 0.9, "n": 20, "interval_95": [0.7, 1.0]}
    names = {"7": {"label": "eval", "score": score, "note": "n", "false_friends": ["x"], "origin": "o"}}
    return as_json({"evidence": "e", "sae_sha256": "b" * 64, "labels": {"3": "a, b"}, "names": names})


def _cards() -> bytes:
    context = {"file": "f", "row": "r", "tokens": [["a", 1.0], ["b", 0.0]]}
    lens = {"promoted": ["a"], "demoted": ["b"]}
    firing = {"benign": {"texts": 0.1, "tokens": 0.01, "n": 10}}
    card = {"index": 3, "sae_sha256": "b" * 64, "contexts": [context], "logit_lens": lens, "firing": firing}
    return as_json(card) + b"\n"


def _explanations() -> bytes:
    line = {"modelId": "a-model", "layer": "9-res-16", "index": "3", "description": "eval", "typeName": "t"}
    return as_json(line) + b"\n" + as_json({**line, "index": "7"}) + b"\n"


def _names() -> bytes:
    lines = ({"index": 3, "label": "eval", "note": "n", "false_friends": "a; b"}, {"index": 7, "label": "x"})
    return b"".join(as_json(line) + b"\n" for line in lines)


_READER = ReaderRef.model_validate({**set_data()["reader"]})

TARGETS: Sequence[Target] = (
    Target("config", "config.yaml", _configs, lambda path: load_config(path, {})),
    Target("feature set", "set.yaml", _sets, load_feature_set),
    Target("alert", "alert.json", _alerts, _shown, (ValidationError, ValueError, OverflowError)),
    Target("labels", "latents.json", lambda: [_labels()], load_labels),
    Target("feature cards", CARDS_FILE, lambda: [_cards()], lambda path: load_cards(path.parent)),
    Target("names, JSON", "names.jsonl", lambda: [_names()], read_names),
    Target("names, CSV", "names.csv", lambda: [b"index,label,note\n3,eval,n\n7,x,\n"], read_names),
    Target("Neuronpedia", "n.jsonl", lambda: [_explanations()], lambda path: read_explanations([path], _READER)),
    Target(
        "SAE settings",
        "cfg.json",
        lambda: [_sae_settings()],
        lambda path: open_sae(path.parent),
        beside={"sae_weights.safetensors": _sae_tensors},
    ),
    Target(
        "SAE weights",
        "sae_weights.safetensors",
        lambda: [_sae_tensors()],
        lambda path: open_sae(path.parent),
        beside={"cfg.json": _sae_settings},
    ),
    Target("stored SAE", "sae.safetensors", lambda: [_stored_sae()], load_stored_sae),
    Target("safetensors", "a.safetensors", lambda: [_sae_tensors()], load_tensors),
    Target("bundle manifest", "manifest.json", lambda: [_manifest()], lambda path: load_bundle(path.parent)),
    Target("GGUF", "a.gguf", _gguf, GgufFile.open, (ValueError, OSError)),
    *MODEL_TARGETS,
)


def mutated(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few faults."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(9):
            case 0 if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                data[at:at] = chance.choice(TOKENS)
            case 2:
                token = chance.choice(TOKENS)
                data[at : at + len(token)] = token
            case 3:
                del data[at:]
            case 4:
                del data[at : at + chance.choice((1, 2, 8, 40))]
            case 5:  # a part twice, such as a key
                data[at:at] = data[at : at + chance.choice((4, 20, 80))]
            case 6:  # a part of another file
                other = chance.choice(seeds)
                start = chance.randrange(len(other))
                data[at:at] = other[start : start + chance.choice((4, 20, 80))]
            case 7 if numbers := list(_NUMBER.finditer(data)):
                found = chance.choice(numbers)
                data[slice(*found.span())] = chance.choice(TOKENS[:10])
            case _:
                data[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 4, 16))))
    return bytes(data)


def run_files(
    first: int, count: int, folder: Path, keep: Path | None = None, on_case: Callable[[int], None] = lambda _: None
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """`count` cases by (kind of file, what became of it), and the faults, whose files are kept in `keep`."""
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    seeds = {target.name: target.seeds() for target in TARGETS}
    places = {target.name: target.laid_out(folder / str(n)) for n, target in enumerate(TARGETS)}
    for seed in range(first, first + count):
        chance = Random(seed)  # noqa: S311 - variety, not secrecy
        target = TARGETS[seed % len(TARGETS)]
        path = places[target.name]
        path.write_bytes(mutated(chance, seeds[target.name]))
        read, fault = fault_of(target, path)
        counts[target.name, "fault" if fault else "read" if read else "refused"] += 1
        if fault:
            faults.append(f"file-{seed}, {target.name}: {fault}")
            if keep is not None and len(faults) <= 50:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"file-{seed}-{Path(target.file).name}").write_bytes(path.read_bytes())
        on_case(seed)
    return counts, faults
