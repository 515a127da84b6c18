"""TorchReader on other architectures: tiny random models, saved by transformers and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from monitor.errors import ConfigError
from monitor.readers.reader import Chunk
from monitor.readers.residual_hook import hook_residual
from monitor.readers.torch_reader import TorchReader
from monitor.readers.windows import WindowReader
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import load_saelens
from tests.readers.conftest import Residual
from tests.readers.random_models import CONFIGS, GROUPED, LAYERS, RECURRENT, D
from tests.saelens import reference, save_sae
from tests.tiny_model import edit_config

ALL = CONFIGS | RECURRENT


def save(folder: Path, name: str) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(ALL[name]()).eval()
    model.save_pretrained(folder)
    return model


def texts() -> list[np.ndarray]:
    source = np.random.default_rng(4)
    return [source.integers(3, 100, size).astype(np.int32) for size in (20, 5, 1, 13, 20, 33)]


def hidden(model: Any, ids: np.ndarray, layer: int) -> torch.Tensor:
    with torch.no_grad():
        states = model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], output_hidden_states=True).hidden_states
    found: torch.Tensor = states[layer + 1][0]
    return found


def behind(model: Any, ids: np.ndarray, layer: int) -> torch.Tensor:
    """The same by a hook: not all architectures count their hidden states alike."""
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS)
    kept: list[torch.Tensor] = []
    hook = blocks[layer].register_forward_hook(
        lambda _module, _inputs, output: kept.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], use_cache=False)
    hook.remove()
    return kept[0][0]


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_whole_model(name: str, layer: int, tmp_path: Path) -> None:
    model = save(tmp_path / "model", name)
    sae = save_sae(tmp_path / "sae", "topk", d_in=D, d_sae=64)
    rows = (9, 3, 60)
    reader = TorchReader(tmp_path / "model", layer, CuratedEncoder(load_saelens(sae), rows), batch_tokens=80)
    plain = TorchReader(tmp_path / "model", layer, Residual(), batch_tokens=80)
    chunks = [Chunk(ids) for ids in texts()]
    for chunk, found, residual in zip(chunks, reader.read(chunks), plain.read(chunks), strict=True):
        expected = hidden(model, chunk.tokens, layer)
        np.testing.assert_allclose(residual, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        wanted = reference(sae, expected, rows)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_reading_after_a_past(name: str, tmp_path: Path) -> None:
    """Also where the past is longer than a sliding window."""
    model = save(tmp_path, name)
    reader = TorchReader(tmp_path, 2, Residual())
    for size in (1, 12):
        start = np.arange(10, 10 + size, dtype=np.int32)
        past = reader.prefill(start)
        rest = texts()
        for ids, found in zip(rest, reader.read([Chunk(ids, past) for ids in rest]), strict=True):
            expected = hidden(model, np.concatenate([start, ids]), 2)[size:]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", RECURRENT)
def test_models_that_keep_no_past_read_alike(name: str, tmp_path: Path) -> None:
    """Texts of different lengths share batches, with and without a beginning that was read before."""
    model = save(tmp_path, name)
    reader = TorchReader(tmp_path, 2, Residual(), batch_tokens=80)
    start = np.arange(10, 22, dtype=np.int32)
    past = reader.prefill(start)
    for ids, alone, after in zip(
        texts(),
        reader.read([Chunk(ids) for ids in texts()]),
        reader.read([Chunk(ids, past) for ids in texts()]),
        strict=True,
    ):
        whole = behind(model, np.concatenate([start, ids]), 2)[start.size :]
        for found, expected in ((alone, behind(model, ids, 2)), (after, whole)):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "mixtral"])
def test_a_past_is_kept_if_the_model_can(name: str, tmp_path: Path) -> None:
    save(tmp_path, name)
    assert TorchReader(tmp_path, 2, Residual()).prefill(np.arange(3, dtype=np.int32)).cache is not None


def test_windows_fit_a_model_with_learned_positions(tmp_path: Path) -> None:
    model = save(tmp_path, "gpt2")
    reader = TorchReader(tmp_path, 1, Residual())
    ids = np.random.default_rng(0).integers(3, 100, 200).astype(np.int32)
    plan = WindowReader(reader, [ids[:1]], window_tokens=2048, overlap_tokens=256).plan(ids)
    read = reader.read([w.chunk for w in plan])
    assert sum(w.new for w in plan) == 199
    np.testing.assert_allclose(read[0], hidden(model, ids[:64], 1)[1:], rtol=1e-4, atol=1e-4)


def test_a_vision_tower_as_deep_as_the_text_prefix(tmp_path: Path) -> None:
    text = CONFIGS["gemma3"]()
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Gemma3Config(
        text_config=text.to_dict(), vision_config=vision, mm_tokens_per_image=4, image_token_index=99
    )
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    ids = np.arange(3, 20, dtype=np.int32)
    (found,) = TorchReader(tmp_path, 2, Residual()).read([Chunk(ids)])
    expected = hidden(model, ids, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model = save(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"not loaded as a transformers model: .*safetensors"):
        TorchReader(tmp_path, 1, Residual())


def test_weights_cut_off(tmp_path: Path) -> None:
    save(tmp_path, "llama")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="not loaded as a transformers model"):
        TorchReader(tmp_path, 1, Residual())


def test_missing_weights_are_not_made_up(tmp_path: Path) -> None:
    save(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    weights = {k: v for k, v in load_file(file).items() if "layers.1.mlp" not in k}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"the weights lack layers\.1\.mlp\.\w+\.weight \(3 tensors are missing\)"):
        TorchReader(tmp_path, 1, Residual())
    assert TorchReader(tmp_path, 0, Residual()).d_model == D  # which needs none of them


def test_weights_that_are_left_over_are_not_ignored(tmp_path: Path) -> None:
    """fp8 weights without their scales would be other weights."""
    save(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    stored = load_file(file)
    stored["model.layers.1.mlp.up_proj.weight_scale_inv"] = torch.ones(1, 1)
    stored["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.ones(4)  # of an older version
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"layers\.1\.mlp\.up_proj\.weight_scale_inv has no place in a LlamaModel as"):
        TorchReader(tmp_path, 1, Residual())
    assert TorchReader(tmp_path, 0, Residual()).d_model == D


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_tied_heads_shards_and_short_weights(dtype: str, tied: bool, shards: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(**GROUPED, tie_word_embeddings=tied)
    ).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size="20KB" if shards else "1GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == shards
    (ids, *_) = texts()
    (found,) = TorchReader(tmp_path, 2, Residual()).read([Chunk(ids)])
    expected = hidden(model.float(), ids, 2)  # the reader calculates in float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types"),
        (
            {"quantization_config": {"quant_method": "awq", "bits": 4}},
            r"quantised \(awq\): use the model with",
        ),
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_what_transformers_refuses_is_a_sentence(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, "llama")
    edit_config(tmp_path, **change)
    with pytest.raises(ConfigError, match=f"not loaded as a transformers model: .*{message}"):
        TorchReader(tmp_path, 1, Residual())


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "no-such-device"])
def test_a_device_that_is_not_there(device: str, tmp_path: Path) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the device that the test wants to be missing")
    save(tmp_path, "llama")
    with pytest.raises(ConfigError, match=f"^reader.device: {device}: "):
        TorchReader(tmp_path, 1, Residual(), device=device)


def test_a_layer_that_the_model_does_not_have(tmp_path: Path) -> None:
    save(tmp_path, "llama")
    with pytest.raises(ConfigError, match=r"no layer 4: the model has 4$"):
        TorchReader(tmp_path, LAYERS, Residual())


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gemma3", "mistral"])
def test_the_branches_of_a_block_add_up_to_what_it_adds(name: str, tmp_path: Path) -> None:
    """After a block: what came in, plus the output of attention, plus that of the MLP, each after its own norm."""
    save(tmp_path, name)
    chunks = [Chunk(text) for text in texts()]
    read = {
        (hook, layer): np.concatenate(TorchReader(tmp_path, layer, lambda x: x, hook=hook).read(chunks))
        for hook, layer in (("resid_post", 1), ("attn_out", 2), ("mlp_out", 2), ("resid_post", 2))
    }
    whole = read["resid_post", 1] + read["attn_out", 2] + read["mlp_out", 2]
    np.testing.assert_allclose(whole, read["resid_post", 2], rtol=1e-4, atol=1e-4)
    assert all(np.abs(read[hook, 2]).max() > 1e-3 for hook in ("attn_out", "mlp_out"))


def test_a_block_without_that_part() -> None:
    block = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"^reader\.hook: mlp_out: Sequential has no part called mlp, only 0$"):
        hook_residual(block, lambda _: None, "mlp_out")
