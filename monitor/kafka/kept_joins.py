"""KeptJoins: lets a consumer that works long between polls finish a rebalance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer

_PAUSE_S = 0.02


class KeptJoins:
    """Holds back the answer to a join until the next poll.

    kafka-python 3.0.12 discards a join that completes between two polls and joins again, so members that poll seldom,
    or with short timeouts, would rebalance forever. Here a join only completes inside `polling`.
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
        """Wrap each poll in this. A poll needs a timeout well above 20 ms to finish a rebalance."""
        self._polling = True
        try:
            yield
        finally:
            self._polling = False
