"""Several processes at one race or map: what they tell each other between two stretches of it.

Process 0 has the record. Every other has one connection to it, and none to its fellows: what is
gathered goes to process 0, and what it decides goes to all. Nothing is said while runs train.
"""

import selectors
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import final

import jax

from fanin.errors import FaninError
from fanin.race.links import Gone, Link


class ProcessLost(FaninError):
    """Processes that ended before their work was done, by their numbers in `processes`."""

    def __init__(self, message: str, processes: Sequence[int]) -> None:
        super().__init__(message)
        self.processes = tuple(processes)


@final
class Processes:
    """The processes of a race or map as one of them sees them: `index` of `count`.

    A context manager: at its end all take leave of each other together; at an error this one goes
    alone, and the others find that it is gone.
    """

    def __init__(self, index: int = 0, count: int = 1, links: Mapping[int, Link] = {}) -> None:
        self.index, self.count = index, count
        self._links = dict(links)

    def gather(self, message: bytes) -> list[bytes]:
        """Process 0 gets what each process gave, in their order; the others get nothing.

        Every process calls it, equally often. Raises ProcessLost where one has ended.
        """
        if self.index > 0:
            try:
                self._links[0].send(message)
            except Gone:
                raise self._lost([0]) from None
            return []
        found, lost = {0: message}, list[int]()
        with selectors.DefaultSelector() as waiting:
            for place, link in self._links.items():
                try:
                    # One that was ahead may have ended behind what it had said.
                    link.take_in()
                except Gone:
                    lost.append(place)
                    continue
                if (whole := link.whole()) is not None:
                    found[place] = whole
                else:
                    waiting.register(link.connection, selectors.EVENT_READ, place)
            while waiting.get_map() and not lost:
                for key, _ in waiting.select():
                    link = self._links[key.data]
                    try:
                        link.read()
                        if (whole := link.whole()) is None:
                            continue
                        found[key.data] = whole
                    except Gone:
                        lost.append(key.data)
                    waiting.unregister(link.connection)
        if lost:
            raise self._lost(lost)
        return [found[place] for place in range(self.count)]

    def check(self) -> None:
        """Raises ProcessLost where one has ended; waits for nothing."""
        lost = list[int]()
        for place, link in self._links.items():
            try:
                link.take_in()
            except Gone:
                lost.append(place)
        if lost:
            raise self._lost(lost)

    def hand_out(self, messages: Sequence[bytes]) -> bytes:
        """To each process its message, of those that process 0 gives; the others give none."""
        if self.index > 0:
            try:
                return self._links[0].receive()
            except Gone:
                raise self._lost([0]) from None
        lost = list[int]()
        for place, link in self._links.items():
            try:
                link.send(messages[place])
            except Gone:
                lost.append(place)
        if lost:
            raise self._lost(lost)
        return messages[0]

    def tell(self, message: bytes = b"") -> bytes:
        """What process 0 gives, to all."""
        return self.hand_out([message] * self.count)

    def leave(self) -> None:
        """Ends it, all processes together; nothing where there is one alone."""
        if self.count > 1:
            self.tell()
            # It waits for all, so that none takes another's end for a fault.
            jax.distributed.shutdown()
        self.abandon()

    def abandon(self) -> None:
        """Goes without a word: the others find the connection closed."""
        for link in self._links.values():
            link.close()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.leave()
        else:
            self.abandon()

    def _lost(self, places: Sequence[int]) -> ProcessLost:
        if self.index > 0:
            message = f"process 0 ({self._links[0].address}) has ended; what it says is the reason"
            return ProcessLost(message, places)
        names = ", ".join(f"{place} ({self._links[place].address})" for place in places)
        found = "process {} of {} has" if len(places) == 1 else "processes {} of {} have"
        return ProcessLost(f"{found.format(names, self.count)} ended", places)


ALONE = Processes()
"""One process, which has all to do."""
