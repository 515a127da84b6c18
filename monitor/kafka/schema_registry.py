"""SchemaRegistry: the schemas of framed records, by id, over the HTTP interface of Confluent's Schema Registry.

Source: Confluent Schema Registry API reference; Karapace and Apicurio's compatibility mode answer alike.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from monitor.config.sections import EventsConfig
from monitor.errors import BadEvent, ConfigError, Retryable
from monitor.events.envelopes.avro import UnusableSchema, avro_decoder
from monitor.events.envelopes.confluent import Decoder
from monitor.events.json_object import read_record
from monitor.kafka.client import read_secret

V = TypeVar("V")

_MAX_ANSWER_BYTES = 2_000_000
_MAX_KEPT = 1_000
_MAX_REFERENCES = 100
_REFERENCE = ("subject", "version")
_ASK_AGAIN_S = 60.0
"""An id that the registry doesn't know is asked for again after this time: a schema may be registered late."""
_UNKNOWN = (40401, 40402, 40403)
"""No such subject, version or schema. Another 404 is not from a registry, or has the wrong path."""


class SchemaRegistry:
    """Asks for each schema once; ids never change their meaning. Raises ConfigError if it can't work as configured."""

    def __init__(self, config: EventsConfig) -> None:
        """`config` must have a schema_registry_url."""
        if importlib.util.find_spec("fastavro") is None:
            raise ConfigError("events.schema_registry_url needs fastavro; run: pip install 'latentwatch[avro]'")
        if config.schema_registry_cafile is not None and not config.schema_registry_cafile.is_file():
            raise ConfigError(f"events.schema_registry_cafile: {config.schema_registry_cafile}: no such file")
        self._config = config
        self._url = (config.schema_registry_url or "").rstrip("/")
        self._session = requests.Session()
        self._verify = str(config.schema_registry_cafile) if config.schema_registry_cafile else True
        self._kept: dict[int, Decoder] = {}
        self._unknown_until_s: dict[int, float] = {}  # monotonic
        self._secrets()

    def decoders(self, ids: Collection[int]) -> Mapping[int, Decoder]:
        """A decoder for each of `ids`; that of a schema that can't be used raises BadEvent. Raises Retryable."""
        return {schema_id: self._decoder(schema_id) for schema_id in sorted(ids)}

    def close(self) -> None:
        """Closes connections."""
        self._session.close()

    def _decoder(self, schema_id: int) -> Decoder:
        if schema_id in self._kept:
            return self._kept[schema_id]
        unknown = _refusal(f"the schema registry has no schema {schema_id}")
        if self._unknown_until_s.get(schema_id, 0.0) > time.monotonic():
            return unknown
        try:
            answer = self._ask(f"schemas/ids/{schema_id}")
            if answer is None:
                _keep(self._unknown_until_s, schema_id, time.monotonic() + _ASK_AGAIN_S)
                return unknown
            found = self._made(schema_id, answer)
        except UnusableSchema as e:
            found = _refusal(f"schema {schema_id} can't be used: {e}")
        _keep(self._kept, schema_id, found)
        return found

    def _made(self, schema_id: int, answer: Mapping[str, Any]) -> Decoder:
        kind = answer.get("schemaType") or "AVRO"
        if kind == "JSON":
            return read_record
        if kind != "AVRO":
            return _refusal(f"schema {schema_id} is {kind}: only JSON and Avro are read in a schema registry's frame")
        referenced: dict[tuple[str, int], Any] = {}
        self._add_references(answer, referenced)
        decode = avro_decoder(_schema(answer), referenced.values())

        def named(payload: bytes, repaired: Counter[str]) -> Any:
            try:
                return decode(payload, repaired)
            except BadEvent as e:
                raise BadEvent(f"schema {schema_id}: {e.reason}", kind=e.kind) from None

        return named

    def _add_references(self, answer: Mapping[str, Any], found: dict[tuple[str, int], Any], depth: int = 0) -> None:
        """Adds the schemas that `answer` refers to, each after those that it refers to itself."""
        references = answer.get("references") or ()
        if not isinstance(references, list | tuple):
            raise UnusableSchema("its references are no list")
        for reference in references:
            subject, version = (reference.get(k) if isinstance(reference, dict) else None for k in _REFERENCE)
            if not isinstance(subject, str) or not isinstance(version, int):
                raise UnusableSchema("a reference has no subject and version")
            key = subject, version
            if key in found:
                continue
            if len(found) >= _MAX_REFERENCES or depth >= _MAX_REFERENCES:
                raise UnusableSchema(f"it refers to more than {_MAX_REFERENCES} schemas")
            inner = self._ask(f"subjects/{quote(subject, safe='')}/versions/{version}")
            if inner is None:
                raise UnusableSchema(f"it refers to {subject} version {version}, which the registry doesn't have")
            self._add_references(inner, found, depth + 1)
            found[key] = _schema(inner)

    def _ask(self, path: str) -> Mapping[str, Any] | None:
        """What the registry answers; None if it says that there is no such thing. Raises Retryable, UnusableSchema."""
        headers, auth = self._secrets_or_retry()
        try:
            with self._session.get(
                f"{self._url}/{path}",
                headers={"Accept": "application/vnd.schemaregistry.v1+json, application/json", **headers},
                auth=auth,
                timeout=self._config.schema_registry_timeout_s,
                verify=self._verify,  # with the call, because the environment would override the session's
                allow_redirects=False,  # the password would follow
                stream=True,
            ) as response:
                body = response.raw.read(_MAX_ANSWER_BYTES + 1, decode_content=True)
        except (requests.RequestException, HTTPError, OSError) as e:
            raise self._down(_why(e)) from None
        answer = _object(body)
        if response.status_code == 404 and answer.get("error_code") in _UNKNOWN:
            return None
        if response.status_code != 200:
            raise self._down(f"HTTP {response.status_code}")
        if len(body) > _MAX_ANSWER_BYTES:
            raise UnusableSchema(f"it has more than {_MAX_ANSWER_BYTES} bytes")
        if not isinstance(answer.get("schema"), str):
            raise self._down("the answer holds no schema")
        return answer

    def _secrets(self) -> tuple[dict[str, str], tuple[str, str] | None]:
        """Headers, and user name and password. Raises ConfigError."""
        config = self._config
        if config.schema_registry_token_file is not None:
            token = read_secret("events.schema_registry_token", None, config.schema_registry_token_file)
            return {"Authorization": f"Bearer {token}"}, None
        if config.schema_registry_username is None:
            return {}, None
        key, file = "events.schema_registry_password", config.schema_registry_password_file
        return {}, (config.schema_registry_username, read_secret(key, config.schema_registry_password, file))

    def _secrets_or_retry(self) -> tuple[dict[str, str], tuple[str, str] | None]:
        try:
            return self._secrets()
        except ConfigError as e:  # a mounted secret is being replaced
            raise Retryable(str(e)) from None

    def _down(self, why: str) -> Retryable:
        return Retryable(f"events.schema_registry_url: {self._url}: {why}")


def _refusal(reason: str) -> Decoder:
    def refuse(_payload: bytes, _repaired: Counter[str]) -> Any:
        raise BadEvent(reason, kind="encoding")

    return refuse


def _schema(answer: Mapping[str, Any]) -> Any:
    try:
        return json.loads(answer["schema"])
    except (ValueError, RecursionError):
        raise UnusableSchema("it is not JSON") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _keep(kept: dict[int, V], schema_id: int, value: V) -> None:
    if len(kept) >= _MAX_KEPT:
        kept.pop(next(iter(kept)))
    kept[schema_id] = value


def _why(error: BaseException) -> str:
    """The innermost reason, without what the libraries wrap around it."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
