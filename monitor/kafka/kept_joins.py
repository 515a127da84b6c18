"""KeptJoins: a consumer that works long between polls still ends a rebalance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer

_PAUSE_S = 0.02


class KeptJoins:
    """Keeps the answer to a join until a poll is there to take it.

    kafka-python 3.0.12 throws away a join that ends between two polls, and joins again. Members that poll seldom, or
    with short timeouts, would rebalance for ever. Here a join ends only while `polling` is entered.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._polling = False
        coordinator = consumer._coordinator
        join = coordinator._do_join_and_sync_async

        async def kept() -> Any:
            answer = await join()
            while not self._polling:
                await consumer._net.sleep(_PAUSE_S)
            return answer

        coordinator._do_join_and_sync_async = kept

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Around each poll. A poll that should end a rebalance needs a timeout well above 20 ms."""
        self._polling = True
        try:
            yield
        finally:
            self._polling = False
