"""Who has which labels in front of them, so that several people are handed different ones."""

import threading
import time
from collections.abc import Callable, Collection

_SECONDS = 300.0  # for a page to be looked at; whoever closes it returns nothing
_CLIENTS = 256


class Leases:
    """A preference and no lock: what two have in front of them, the first to answer decides.

    Labels and not images: two classes of an image may well be answered by two people. Methods may be called by several
    threads at once.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, frozenset[int]]] = {}  # by client, the one that asked last is the last

    def take(self, client: str | None, items: Collection[int]) -> None:
        """Items are in front of a client, and those before no longer; None, nobody in particular, keeps nothing."""
        if client is None:
            return
        with self._lock:
            self._held.pop(client, None)
            self._held[client] = self._clock() + _SECONDS, frozenset(items)
            if len(self._held) > _CLIENTS:
                del self._held[next(iter(self._held))]

    def of_others(self, client: str | None) -> set[int]:
        """The items that others have in front of them."""
        now = self._clock()
        with self._lock:
            return {
                item
                for other, (until, items) in self._held.items()
                if other != client and until > now
                for item in items
            }
