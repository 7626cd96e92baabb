"""The course of a search: rung by rung, then the check, recorded as they come, and gone on with."""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias, final

from fanin.errors import OptionError
from fanin.race import Race, Results, course
from fanin.race.devices import use_all_cores
from fanin.race.events import Event, Number
from fanin.race.machine import this_machine
from fanin.race.record import folder_for
from fanin.search.plan import Search
from fanin.search.ranking import lost, ranked
from fanin.search.record import CheckDone, RungDone, SearchOpening, open_search_record
from fanin.search.results import Began, SearchResults
from fanin.search.rungs import Rung

RECORD = "search.jsonl"

SearchEvent: TypeAlias = Began | Event | RungDone | CheckDone


def find(plan: Search, folder: str | Path | None = None) -> SearchResults:
    """Searches, checks the winner, and gives the results; as `seek`, but all at once."""
    results = SearchResults(plan)
    for event in seek(plan, folder):
        results.add(event)
    return results


def seek(plan: Search, folder: str | Path | None = None) -> Generator[SearchEvent, None, None]:
    """Search; yields each race that is begun, its events, and what it has shown.

    In a folder where the same search was begun, what is recorded comes first, and the search goes
    on where it was, with the same numbers as if it had not been stopped. Raises RecordError for a
    folder that cannot be used or holds another search, and OptionError where every run of a rung
    diverged.
    """
    use_all_cores()
    with ExitStack() as stack:
        recorded = list[RungDone | CheckDone]()
        record = None
        if folder is not None:
            folder = folder_for(folder)
            opening = SearchOpening(plan.options_on_record() | plan.described(), this_machine())
            record, recorded = open_search_record(folder / RECORD, opening)
            stack.enter_context(record)
        known = {event.number if isinstance(event, RungDone) else 0: event for event in recorded}
        following = _Course(plan, folder)
        left: Sequence[int] = range(len(plan.pool))
        for rung in plan.rungs:
            done = known.get(rung.number)
            if done is None:
                done = yield from following.rung(rung, left)
                if record is not None:
                    record.append(done)
            assert isinstance(done, RungDone)
            yield done
            _check_any_is_left(plan, done)
            left = done.kept
        if 0 not in known:
            checked = yield from following.check(left[0])
            if record is not None:
                record.append(checked)
            known[0] = checked
        yield known[0]


@final
class _Course:
    """The races of a search, each in a folder of its own."""

    def __init__(self, plan: Search, folder: Path | None) -> None:
        self._plan, self._folder = plan, folder

    def rung(self, rung: Rung, places: Sequence[int]) -> Generator[SearchEvent, None, RungDone]:
        results = yield from self._raced(self._plan.race(rung, places), f"rung-{rung.number}", rung)
        lanes = range(len(places))
        losses = tuple(_nulls(results.dev_losses(lane, rung.steps)) for lane in lanes)
        order = ranked(losses, results.plan.uniform_loss)
        return RungDone(
            rung.number,
            rung.steps,
            rung.seeds,
            tuple(places),
            losses,
            tuple(places[place] for place in order[: rung.kept]),
            results.seconds,
        )

    def check(self, winner: int) -> Generator[SearchEvent, None, CheckDone]:
        plan = self._plan
        race = plan.check(plan.pool[winner])
        if race is None:
            return CheckDone(winner, (), plan.seeds, (), (), (), (), 0.0)
        results = yield from self._raced(race, "check", None)
        lanes = range(len(race.lanes))
        ends = [[results.finished[lane, seed] for seed in race.seeds] for lane in lanes]
        edges = results.at_edge()
        return CheckDone(
            winner,
            tuple(lane.name for lane in race.lanes),
            race.seeds,
            tuple(_nulls(end.test_loss for end in by_seed) for by_seed in ends),
            tuple(_nulls(end.dev_loss for end in by_seed) for by_seed in ends),
            tuple(
                results.tuned[place].rate if place in results.tuned else lane.options.rate
                for place, lane in enumerate(race.lanes)
            ),
            tuple(lane.name in edges for lane in race.lanes),
            results.seconds,
        )

    def _raced(
        self, race: Race, name: str, rung: Rung | None
    ) -> Generator[SearchEvent, None, Results]:
        results = Results(race)
        yield Began(rung, results)
        for event in self._events(race, name):
            results.add(event)
            yield event
        return results

    def _events(self, race: Race, name: str) -> Iterator[Event]:
        return course(race, None if self._folder is None else self._folder / name)


def _nulls(losses: Iterable[Number]) -> tuple[Number, ...]:
    """As they are when they are read again."""
    return tuple(loss if loss is not None and math.isfinite(loss) else None for loss in losses)


def _check_any_is_left(plan: Search, done: RungDone) -> None:
    uniform = plan.uniform_loss
    if all(lost(losses, uniform) == len(losses) for losses in done.dev_loss):
        raise OptionError(
            f"no run of {len(done.candidates):,} candidates ended better than a blind guess "
            f"(log V, {uniform:.4f}) after {done.steps:,} steps, so there is nothing to choose "
            "from; a lower learning rate, or more steps, would do"
        )
