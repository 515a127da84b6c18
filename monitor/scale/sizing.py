"""Sizing: the arithmetic from a load to replicas, requests, partitions and core-hours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from monitor.scale.figures import READER, Figures, cpu_s_per_mtok

HOURS_A_MONTH = 730
_MIB = 1_048_576
_STEP_MIB = 64
"""Memory requests are multiples of this."""
_OF_CEILING = 0.5
"""The share of the measured ceiling that products with the SAE's columns reach."""
_BYTES_A_VALUE = 2
"""A residual stream in bfloat16 or float16."""
_LARGE_GROUP = 1_000
"""Members of a consumer group from which on rebalances take minutes."""


@dataclass(frozen=True)
class Load:
    """What arrives."""

    events_per_s: float
    """On average."""
    tokens: float
    """Tokens of an event: the whole prompt and the response."""


@dataclass(frozen=True)
class Assumptions:
    """What a sizing takes for granted."""

    reader: str = READER
    cores: float = 2.0
    """Cores of a replica."""
    utilisation: float = 0.6
    """Share of a replica's cores that are busy at the peak; the rest is for restarts, rebalances and noise."""
    peak: float = 1.5
    """Events a second at the peak, relative to the average."""
    cached: float = 0.0
    """Share of the tokens that the prefix cache saves."""
    growth: float = 2.0
    """Partitions per replica at the peak, because partitions are hard to add later."""
    memory: float = 1.25
    """Memory request relative to the measured peak: Kafka's client and sinks come on top of the reader."""
    gpu_core_hours: float = 60.0
    """What an hour of a GPU costs, in core-hours."""
    gpu_tokens_per_s: float | None = None
    """What one GPU reads, measured there; None if it was not measured."""
    server_width: int = 4_096
    """Width of the residual stream of the model that is served."""
    server_features: int = 512
    """Features that are watched in it."""


@dataclass(frozen=True)
class Gpu:
    """Where a GPU reader pays."""

    pays_from_tokens_per_s: float
    """A GPU that reads more than this is cheaper than the cores that read as much, if it has that much to read."""
    average_tokens_per_s: float
    """What there is to read."""
    gpus: int | None
    """For the peak; None without --gpu-tokens-per-s."""
    core_hours_a_month: float | None
    """What those cost."""


@dataclass(frozen=True)
class ServerSide:
    """What would be left to do if the model server handed over its residual stream."""

    busy_cores: float
    """For the products with the SAE's columns of the features that are watched."""
    megabytes_per_s: float
    """From the server to latentwatch, in 10^6 bytes."""
    share_of_reading: float
    """Its cores relative to those of reading."""


@dataclass(frozen=True)
class Sizing:
    """The result. All rates are averages unless stated otherwise."""

    load: Load
    assumptions: Assumptions
    measured: str
    """The machine and the run that the figures come from."""
    cpu_s_per_mtok: float
    """CPU seconds per million computed tokens."""
    computed_tokens_per_s: float
    busy_cores: float
    replicas: int
    """At the peak."""
    average_replicas: int
    """If an autoscaler follows the load."""
    cpu_request: float
    memory_request_mib: int
    replica_events_per_s: float
    """What a replica takes at the utilisation that is assumed."""
    partitions: int
    core_hours_a_month: float
    """If as many replicas as the peak needs run all the time."""
    average_core_hours_a_month: float
    """If an autoscaler follows the load."""
    gpu: Gpu
    server_side: ServerSide | None
    """None if the file has no float32 ceiling."""
    notes: tuple[str, ...]
    """What to keep in mind."""


def size(load: Load, figures: Figures, a: Assumptions) -> Sizing:
    """What the load needs. Raises ConfigError if the reader was not measured."""
    rows = figures.of_reader(a.reader)
    cost = cpu_s_per_mtok(rows, load.tokens)
    computed = load.events_per_s * load.tokens * (1 - a.cached)
    busy = computed * cost / 1e6
    replica = a.cores * a.utilisation  # cores that may be busy
    replicas, average = (max(1, math.ceil(cores / replica)) for cores in (busy * a.peak, busy))
    memory = figures.peak_mb(a.reader) * 1e6 * a.memory / _MIB
    machine = figures.machine
    return Sizing(
        load=load,
        assumptions=a,
        measured=f"{machine.cpu}, {machine.cores} cores, {machine.started}, load {machine.load_before:.1f} before",
        cpu_s_per_mtok=cost,
        computed_tokens_per_s=computed,
        busy_cores=busy,
        replicas=replicas,
        average_replicas=average,
        cpu_request=a.cores,
        memory_request_mib=_STEP_MIB * math.ceil(memory / _STEP_MIB),
        replica_events_per_s=replica / (busy / load.events_per_s) if busy else math.inf,
        partitions=math.ceil(replicas * a.growth),
        core_hours_a_month=replicas * a.cores * HOURS_A_MONTH,
        average_core_hours_a_month=average * a.cores * HOURS_A_MONTH,
        gpu=_gpu(computed, cost, a),
        server_side=_server_side(load, figures, a, busy),
        notes=tuple(_notes(load, figures, a, replicas)),
    )


def _gpu(computed: float, cost: float, a: Assumptions) -> Gpu:
    gpus = None
    if a.gpu_tokens_per_s is not None:
        gpus = max(1, math.ceil(computed * a.peak / (a.gpu_tokens_per_s * a.utilisation)))
    return Gpu(
        pays_from_tokens_per_s=a.gpu_core_hours * 1e6 / cost,
        average_tokens_per_s=computed,
        gpus=gpus,
        core_hours_a_month=None if gpus is None else gpus * a.gpu_core_hours * HOURS_A_MONTH,
    )


def _server_side(load: Load, figures: Figures, a: Assumptions, busy: float) -> ServerSide | None:
    ceiling = figures.machine.ceilings_gops.get("fp32", 0.0)
    if not ceiling or not busy:
        return None
    tokens = load.events_per_s * load.tokens
    operations = 2 * a.server_width * a.server_features * tokens
    cores = operations / (ceiling * 1e9 / figures.machine.cores * _OF_CEILING)
    return ServerSide(cores, tokens * a.server_width * _BYTES_A_VALUE / 1e6, cores / busy)


def _notes(load: Load, figures: Figures, a: Assumptions, replicas: int) -> list[str]:
    rows = figures.of_reader(a.reader)
    shortest, longest = rows[0].event_tokens, rows[-1].event_tokens
    notes = []
    if figures.machine.load_before > figures.machine.cores / 2:
        notes.append(
            f"the machine was busy when it was measured (load {figures.machine.load_before:.1f} on "
            f"{figures.machine.cores} cores): CPU seconds are too high rather than too low"
        )
    if not shortest <= load.tokens <= longest:
        measured = f"{shortest:,.0f}" if shortest == longest else f"{shortest:,.0f} to {longest:,.0f}"
        notes.append(f"events of {load.tokens:,.0f} tokens were not measured, only of {measured}")
    if replicas > _LARGE_GROUP:
        notes.append(
            f"{replicas:,} members are too many for one consumer group: give replicas more cores, "
            f"split the topic, or read a sample of the events"
        )
    return notes
