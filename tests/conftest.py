"""Fixtures that many tests share: real brokers, started once, and the real reader, compiled once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.demo.broker import EmbeddedBroker
from monitor.model.files import locate
from monitor.readers.onnx.bundle import Bundle
from monitor.telemetry import log
from tests.brokers import AnyBroker, ApacheKafka, kafka_home
from tests.certificates import Authority
from tests.reader_bundle import compile_reader
from tests.reader_model import PACKAGE, ReaderModel

_NO_KAFKA = "set KAFKA_HOME to an Apache Kafka download (and install Java) to run this test"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="also run what reads everything that other tests sample")
    parser.addoption("--image", action="store_true", help="also run what builds the container image")
    parser.addoption("--faults", action="store_true", help="also run what breaks a running stack to see its alerts")
    parser.addoption("--release", action="store_true", help="also run what builds and installs the wheel")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for option in ("whole", "image", "faults", "release"):
        if not config.getoption(f"--{option}"):
            left_out = [item for item in items if item.get_closest_marker(option)]
            if left_out:
                config.hook.pytest_deselected(items=left_out)
                items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _no_log_handler_stays() -> Iterator[None]:
    """A command that a test ran in this process logs to a stream that is closed by now."""
    yield
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler).__module__ == log.__name__:
            root.removeHandler(handler)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """The broker that ships with the demo."""
    with EmbeddedBroker() as broker:
        yield broker


def _home() -> Path:
    home = kafka_home()
    if home is None:
        pytest.skip(_NO_KAFKA)
    return home


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One Apache Kafka node without security."""
    with ApacheKafka(_home(), tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest) -> AnyBroker:
    """Both brokers in turn."""
    found: AnyBroker = request.getfixturevalue("embedded_broker" if request.param == "embedded" else "apache_kafka")
    return found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of the tests."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[ApacheKafka]:
    """An Apache Kafka node with SASL_SSL and ACLs; its certificate names localhost alone.

    Users: admin (may do all), app and nobody (PLAIN), scram (SCRAM-SHA-512).
    """
    home = _home()
    tls = (authority.issue("broker", hosts=("localhost",)), authority.ca_file)
    with ApacheKafka(home, tmp_path_factory.mktemp("secure-kafka"), tls) as broker:
        yield broker


@pytest.fixture(scope="session")
def reader_model() -> ReaderModel:
    """The model that the demo reads with; converted from its package once, then kept in the user's cache."""
    return ReaderModel(locate(PACKAGE, None, None))


@pytest.fixture(scope="session")
def reader_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The model and the SAE of the shipped sets in int8 and float32; takes half a minute."""
    return compile_reader(tmp_path_factory.mktemp("bundles") / "reader")
