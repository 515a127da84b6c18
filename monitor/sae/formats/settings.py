"""Settings: the keys of an SAE's settings file, taken with their types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitor.errors import ConfigError

MOST = 1 << 26
"""No SAE has as many latents, and no model as many channels; settings may ask for any number."""


class Settings:
    """The keys of one JSON object. Every method raises ConfigError naming file, key and rule."""

    def __init__(self, path: Path, values: dict[str, Any], prefix: str = "") -> None:
        self.path = path
        self._values = values
        self._prefix = prefix

    @classmethod
    def read(cls, path: Path) -> Settings:
        """The object in a JSON file."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: missing") from None
        except OSError as e:
            raise ConfigError(f"{path}: not readable: {e.strerror}") from None
        except ValueError as e:
            raise ConfigError(f"{path}: not JSON: {e}") from None
        except RecursionError:
            raise ConfigError(f"{path}: nested too deeply") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected an object")
        return cls(path, values)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is; null counts as missing."""
        value = self._values.get(key)
        return default if value is None else value

    def section(self, key: str) -> Settings:
        """The object under `key`; empty if there is none."""
        value = self.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"expected an object, got {value!r}")
        return Settings(self.path, value, f"{self._prefix}{key}.")

    def whole(self, key: str, default: int | None = None, most: int | None = None) -> int:
        """A positive whole number, no larger than `most` or MOST."""
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= (most or MOST):
            wanted = "a positive whole number" if most is None else f"a whole number from 1 to {most}"
            raise self.wrong(key, f"expected {wanted}, got {value!r}")
        return value

    def positive(self, key: str) -> float:
        """A number above 0, and not so small or large that it is 0 or infinite in float32 once it is multiplied."""
        value = self.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1e-12 <= value <= 1e12:
            raise self.wrong(key, f"expected a number above 0, got {value!r}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"expected true or false, got {value!r}")
        return value

    def text(self, key: str) -> str | None:
        """A string, or None if there is none."""
        value = self.get(key)
        return value if isinstance(value, str) and value else None

    def one_of(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        """One of the strings in `known`."""
        value = self.get(key, default)
        if value not in known:
            verb = "is" if len(known) == 1 else "are"
            raise self.wrong(key, f"{value!r} is not supported; {', '.join(known)} {verb}")
        return str(value)

    def must_be(self, key: str, value: object, reason: str) -> None:
        """Refuses another value than `value`, which is also the one that a missing key stands for."""
        if self.get(key, value) != value:
            raise self.wrong(key, f"{self.get(key)!r} is not supported: {reason}")

    def wrong(self, key: str, rule: str) -> ConfigError:
        """The error that says which key breaks which rule."""
        return ConfigError(f"{self.path}: {self._prefix}{key}: {rule}")
