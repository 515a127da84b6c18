"""Load: a config from one YAML file and the environment, checked as a whole before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError, create_model

from detectors.registry import RegistryError
from monitor.config.sections import ENV_PREFIX, Config
from monitor.config.sinks import SinksConfig, section_model, sinks_model
from monitor.errors import ConfigError
from monitor.yaml_file import load_yaml, rule


def load_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """The config in `path` (None: the defaults) with the overrides in `env`.

    A variable LATENTWATCH__SECTION__KEY=value overrides section.key; its value is read as YAML.
    Raises ConfigError with every problem, each naming file or variable, key and rule.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data, _ = load_yaml(path)
        # a section whose keys are all commented out reads as null
        data = {key: value for key, value in data.items() if value is not None or key not in Config.model_fields}
    where = str(path) if path is not None else "config"
    problems = [
        f"{where}: {key}: secrets are not allowed in the config file; use {f'{key}_file, or ' if has_file else ''}"
        f"{ENV_PREFIX}{key.upper().replace('.', '__')} in the environment"
        for key, has_file in _secrets_in(Config, data)
    ]
    from_env: dict[tuple[str, ...], str] = {}
    for name in sorted(n for n in env if n.startswith(ENV_PREFIX)):
        keys = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        try:
            _put(data, keys, _env_value(keys, env[name]))
        except (TypeError, ValueError, RecursionError, yaml.YAMLError):
            problems.append(f"{name}: cannot override {'.'.join(keys)} with this value")
        from_env[keys] = name
    try:
        config = Config.model_validate(data)
    except ValidationError as e:
        problems.extend(_problem(error, where, from_env) for error in e.errors(include_url=False))
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return config


def _secrets_in(model: type[BaseModel], data: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, bool]]:
    """The keys in `data` that hold secrets, each with whether there is a key for a file instead."""
    for key, value in data.items():
        types = _types_of(model, key)
        if _is_secret(types):
            yield f"{prefix}{key}", bool(_types_of(model, f"{key}_file"))
            continue
        for inner in value if isinstance(value, list) else [value]:
            for section in _sections(types) if isinstance(inner, dict) else []:
                yield from _secrets_in(section, inner, f"{prefix}{key}.")


def _types_of(model: type[BaseModel], key: Any) -> tuple[Any, ...]:
    """The types that the value of a key may have, without the containers around them; none for an unknown key."""
    if issubclass(model, SinksConfig):
        try:
            return (section_model(key),)
        except RegistryError:  # validation says why
            return ()
    info = model.model_fields.get(key)
    return () if info is None else tuple(_leaves(info.annotation))


def _leaves(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for part in inner:
        yield from _leaves(part)


def _is_secret(types: tuple[Any, ...]) -> bool:
    return SecretStr in types or SecretBytes in types


def _sections(types: tuple[Any, ...]) -> list[type[BaseModel]]:
    return [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]


def _env_value(keys: tuple[str, ...], text: str) -> Any:
    """The variable's value as YAML, except for secrets, which are text whatever they look like."""
    models: list[type[BaseModel]] = [Config]
    for key in keys[:-1]:
        models = [section for model in models for section in _sections(_types_of(model, key))]
    if any(_is_secret(_types_of(model, keys[-1])) for model in models):
        return text
    return yaml.safe_load(text)


def _put(data: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    here = data
    for key in keys[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise TypeError(key)
    here[keys[-1]] = value


def _problem(error: Any, where: str, from_env: Mapping[tuple[str, ...], str]) -> str:
    loc = tuple(str(step) for step in error["loc"])
    name = next((from_env[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in from_env), None)
    if name is None and error["type"] != "value_error":  # a variable made a section of a plain key
        name = next((variable for keys, variable in from_env.items() if keys[: len(loc)] == loc), None)
    key = ".".join(loc)
    broken = rule(error["type"], error["msg"])
    return f"{name or where}: {key}: {broken}" if key else f"{name or where}: {broken}"


def config_schema() -> dict[str, Any]:
    """The JSON schema of the config file. Sections of sinks from packages are not checked."""
    description = Config.model_fields["sinks"].description
    sinks: Any = sinks_model(), Field(default_factory=dict, description=description)
    return create_model(Config.__name__, __base__=Config, __doc__=Config.__doc__, sinks=sinks).model_json_schema()
