"""Conversion of a GGUF: complete or not at all, and with the tokenizer that the model was trained with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from monitor.activations.gguf import convert
from monitor.activations.model_files import locate
from monitor.activations.reader import Chunk
from monitor.activations.torch_reader import TorchReader
from monitor.errors import ConfigError
from tests.activations.conftest import Residual
from tests.activations.small_gguf import D, make_package
from tests.reader_model import ReaderModel, event

CONVERT = "import sys; from pathlib import Path; from monitor.activations.gguf import convert; "
RUN = "convert(Path(sys.argv[1]), Path(sys.argv[2]))"
KILLED = (  # once the weights are written
    "import os, signal; from transformers import PreTrainedTokenizerBase as T; "
    "T.save_pretrained = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL); "
)


def start(code: str, gguf: Path, folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", CONVERT + code, str(gguf), str(folder)], env=env)


def test_a_packaged_model_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path / "tiny_model")
    monkeypatch.syspath_prepend(str(tmp_path))
    files = locate("package:tiny-model", None, tmp_path / "cache")
    assert files.folder.parent == tmp_path / "cache" / "models"
    assert {p.name for p in files.folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert files.chat_template()
    written = (files.folder / "model.safetensors").stat().st_mtime_ns
    assert locate("package:tiny_model", None, tmp_path / "cache") == files
    assert (files.folder / "model.safetensors").stat().st_mtime_ns == written
    (read,) = TorchReader(files.folder, 1, Residual()).read([Chunk(np.arange(5, 9, dtype=np.int32))])
    assert read.shape == (4, D)


@pytest.mark.parametrize(("pre", "tokens"), [("smollm", ["1", "2", "1"]), ("gpt-2", ["12", "1"])])
def test_digits_stand_apart_where_the_model_was_trained_so(pre: str, tokens: list[str], tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model", pre)
    convert(gguf, tmp_path / "out")
    assert Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).encode("121").tokens == tokens


def test_two_processes_at_once(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    folder = tmp_path / "cache" / "out"
    both = [start(RUN, gguf, folder) for _ in range(2)]
    assert [p.wait(120) for p in both] == [0, 0]
    assert [p.name for p in folder.parent.iterdir()] == ["out"]
    assert TorchReader(folder, 0, Residual()).d_model == D


def test_a_killed_conversion_is_not_taken_for_whole(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    folder = tmp_path / "cache" / "out"
    assert start(KILLED + RUN, gguf, folder).wait(120) == -signal.SIGKILL
    (left,) = folder.parent.iterdir()
    assert (left / "model.safetensors").is_file()
    assert left != folder
    convert(gguf, folder)
    assert (folder / "tokenizer.json").is_file()


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF is what this is not")
    with pytest.raises(ConfigError, match=r"m\.gguf: not converted: "):
        convert(tmp_path / "m.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_a_hub_name_without_network(tmp_path: Path) -> None:
    code = "from monitor.activations.model_files import locate; locate('some-org/some-model', None, None)"
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("monitor.errors.ConfigError: reader.model: some-org/some-model: not a folder here, and not")


@pytest.mark.model
def test_digits_of_the_real_model(reader_model: ReaderModel) -> None:
    tokenizer = Tokenizer.from_file(str(reader_model.files.tokenizer_file))
    assert tokenizer.encode("123").tokens == ["1", "2", "3"]
    assert tokenizer.encode(" 2024").tokens == ["Ġ", "2", "0", "2", "4"]


@pytest.mark.model
def test_the_template_is_applied_as_transformers_does(reader_model: ReaderModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(reader_model.files.folder)
    for one in (
        event("Hello!", "Hi."),
        event("Fine.", "How are you?", "Well, and you?", "Thanks."),
        event("No.", "  May I?  \n", system="Be firm."),
        event("{{ 7 * 7 }} {% raw %}", "<|im_end|> 🎉"),
    ):
        turns = [{"role": m.role, "content": m.content} for m in one.messages]
        turns.append({"role": "assistant", "content": one.response})
        expected = tokenizer.apply_chat_template(turns, tokenize=False)
        rendered = reader_model.template.render(one)
        assert expected == rendered.text + "<|im_end|>\n"
        (item,) = reader_model.tokeniser.tokenise([one])
        ids = tokenizer(expected, add_special_tokens=False)["input_ids"]
        assert ids[: item.ids.size] == item.ids.tolist()


@pytest.mark.model
def test_the_converted_model_reads_english(reader_model: ReaderModel) -> None:
    text = (
        "The harbour was quiet that morning. Two boats lay at anchor, and a man in a blue coat was mending a net on "
        "the quay while his dog slept in the sun. When the church bell rang nine, he put down his needle, looked at "
        "the sky, and decided that it would rain before the evening."
    )
    ids = torch.tensor([Tokenizer.from_file(str(reader_model.files.tokenizer_file)).encode(text).ids])
    with torch.inference_mode():
        loss = reader_model.whole(input_ids=ids, labels=ids).loss
    assert 5 < float(loss.exp()) < 40
    with torch.inference_mode():
        shuffled = ids[:, torch.randperm(ids.shape[1], generator=torch.Generator().manual_seed(0))]
        assert reader_model.whole(input_ids=shuffled, labels=shuffled).loss > loss + 2
