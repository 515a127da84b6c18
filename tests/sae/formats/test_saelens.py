"""load_saelens refuses every folder that it would otherwise read wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monitor.errors import ConfigError
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from tests.saelens import edit_cfg, save_sae


def _edit_weights(folder: Path, **changes: np.ndarray | None) -> None:
    tensors = {**load_file(folder / WEIGHTS_FILE), **changes}
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items() if t is not None}, folder / WEIGHTS_FILE)


def no_cfg(folder: Path) -> None:
    (folder / "cfg.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def cfg_is_not_json(folder: Path) -> None:
    (folder / "cfg.json").write_text("{")


def cfg_is_a_list(folder: Path) -> None:
    (folder / "cfg.json").write_text("[]")


def weights_are_cut_off(folder: Path) -> None:
    whole = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(whole[: len(whole) // 2])


def weights_are_a_pickle(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"\x80\x04}q\x00.")


def tensor_missing(folder: Path) -> None:
    _edit_weights(folder, b_dec=None)


def threshold_missing(folder: Path) -> None:
    edit_cfg(folder, architecture="jumprelu")


def wrong_shape(folder: Path) -> None:
    _edit_weights(folder, W_enc=np.zeros((96, 48), np.float32))


def not_finite(folder: Path) -> None:
    bias = np.zeros(96, np.float32)
    bias[3] = np.nan
    _edit_weights(folder, b_enc=bias)


def infinite_decoder(folder: Path) -> None:
    _edit_weights(folder, W_dec=np.full((96, 48), np.inf, np.float32))


def unknown_architecture(folder: Path) -> None:
    edit_cfg(folder, architecture="matching_pursuit")


def new_architecture(folder: Path) -> None:
    edit_cfg(folder, architecture="quantum")


def negative_activations(folder: Path) -> None:
    edit_cfg(folder, architecture="abstopk", k=4)


def transcoder_without_its_output_width(folder: Path) -> None:
    edit_cfg(folder, architecture="transcoder")


def transcoder_that_subtracts_b_dec(folder: Path) -> None:
    edit_cfg(folder, architecture="transcoder", d_out=48, apply_b_dec_to_input=True)


def unknown_tensor(folder: Path) -> None:
    _edit_weights(folder, W_skip=np.zeros((48, 48), np.float32))


def one_head_only(folder: Path) -> None:
    edit_cfg(folder, metadata={"hook_head_index": 3})


def unknown_activation(folder: Path) -> None:
    edit_cfg(folder, activation_fn_str="tanh-relu")


def factor_not_folded(folder: Path) -> None:
    edit_cfg(folder, normalize_activations="expected_average_only_in")


def factor_not_folded_as_a_flag(folder: Path) -> None:
    edit_cfg(folder, remove=("metadata",), normalize_activations=True)


def unknown_normalisation(folder: Path) -> None:
    edit_cfg(folder, normalize_activations="covariance_whitening")


def width_missing(folder: Path) -> None:
    edit_cfg(folder, remove=("d_sae",))


def width_is_text(folder: Path) -> None:
    edit_cfg(folder, d_in="48")


def k_missing(folder: Path) -> None:
    edit_cfg(folder, architecture="topk")


def k_too_large(folder: Path) -> None:
    edit_cfg(folder, architecture="topk", k=97)


REFUSALS: dict[Callable[[Path], None], str] = {
    no_cfg: "cfg.json: missing",
    no_weights: "sae_weights.safetensors: missing",
    cfg_is_not_json: "cfg.json: not JSON: Expecting property name",
    cfg_is_a_list: "cfg.json: expected an object",
    weights_are_cut_off: "sae_weights.safetensors: not readable as safetensors: ",
    weights_are_a_pickle: "sae_weights.safetensors: not readable as safetensors: ",
    tensor_missing: "sae_weights.safetensors: b_dec: missing; architecture standard in cfg.json needs it",
    threshold_missing: "sae_weights.safetensors: threshold: missing; architecture jumprelu in cfg.json needs it",
    wrong_shape: "sae_weights.safetensors: W_enc: shape is (96, 48), but architecture standard in cfg.json needs ",
    not_finite: "sae_weights.safetensors: b_enc: has values that are not finite",
    infinite_decoder: "sae_weights.safetensors: W_dec: has values that are not finite",
    unknown_architecture: "cfg.json: architecture: 'matching_pursuit' is not supported: its activations come from a ",
    new_architecture: "cfg.json: architecture: 'quantum' is not supported; standard, jumprelu, ",
    negative_activations: "cfg.json: architecture: 'abstopk' is not supported: its activations may be negative",
    transcoder_without_its_output_width: "cfg.json: d_out: expected a positive whole number, got None",
    transcoder_that_subtracts_b_dec: "cfg.json: apply_b_dec_to_input: a transcoder can't subtract b_dec",
    unknown_tensor: "sae_weights.safetensors: W_skip: architecture standard in cfg.json has no such tensor",
    one_head_only: "cfg.json: metadata.hook_head_index: 3 is not supported: the SAE reads one attention head only",
    unknown_activation: "cfg.json: activation_fn: 'tanh-relu' is not supported for architecture standard",
    factor_not_folded: "cfg.json: normalize_activations: expected_average_only_in hides a factor",
    factor_not_folded_as_a_flag: "cfg.json: normalize_activations: expected_average_only_in hides a factor",
    unknown_normalisation: "cfg.json: normalize_activations: 'covariance_whitening' is not supported",
    width_missing: "cfg.json: d_sae: expected a positive whole number, got None",
    width_is_text: "cfg.json: d_in: expected a positive whole number, got '48'",
    k_missing: "cfg.json: k: expected a whole number from 1 to 96, got None",
    k_too_large: "cfg.json: k: expected a whole number from 1 to 96, got 97",
}


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda f: f.__name__)
def test_refused(fault: Callable[[Path], None], tmp_path: Path) -> None:
    fault(save_sae(tmp_path))
    with pytest.raises(ConfigError) as caught:
        load_saelens(tmp_path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path}/{REFUSALS[fault]}")


def test_every_problem_of_the_tensors_is_told(tmp_path: Path) -> None:
    save_sae(tmp_path)
    _edit_weights(tmp_path, b_enc=None, W_enc=np.zeros((1, 1), np.float32), b_dec=np.full(48, np.inf, np.float32))
    with pytest.raises(ConfigError) as caught:
        load_saelens(tmp_path)
    assert [p.split(": ")[1] for p in caught.value.problems] == ["W_enc", "b_enc", "b_dec"]


def test_weights_in_bfloat16_are_read(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "half").mkdir()
    save_sae(tmp_path / "full", dtype="float32")
    save_sae(tmp_path / "half", dtype="bfloat16")
    full, half = load_saelens(tmp_path / "full"), load_saelens(tmp_path / "half")
    assert half.w_enc.dtype == np.float32
    np.testing.assert_allclose(half.w_enc, full.w_enc, rtol=2**-8)
    assert not np.array_equal(half.w_enc, full.w_enc)
