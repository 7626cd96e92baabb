"""What a search has shown so far: the rungs, the winner, and the verdict of the check."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import msgspec

from fanin.networks.activations import activation_name
from fanin.race import Results, judge
from fanin.race.events import Event, Number
from fanin.race.machine import this_machine
from fanin.race.standings import LEVEL, MARGIN, Standing
from fanin.race.wording import verdict_text
from fanin.search.candidates import Candidate
from fanin.search.plan import Search
from fanin.search.ranking import lost, mean_loss, ranked
from fanin.search.record import CheckDone, RungDone
from fanin.search.rungs import Rung
from fanin.starts import MadeFor, Scheme


@final
@dataclass(frozen=True, eq=False)
class Began:
    """A race has begun, a rung's or (None) the check's; its results fill as it goes."""

    rung: Rung | None
    race: Results


@final
@dataclass(frozen=True)
class Placed:
    """How a candidate did on a rung: its place from 1, the mean of the runs that finished."""

    rung: int
    place: int
    of: int
    mean: float | None
    diverged: int
    dev_loss: tuple[Number, ...]


@final
@dataclass(frozen=True)
class Compared:
    """One verdict of the check, in words too; `standing` has its numbers."""

    start: str
    reference: str
    standing: Standing
    level: float
    """of this comparison; all of a check hold together with the level that was asked for"""

    @property
    def text(self) -> str:
        return verdict_text(self.standing)


@final
class SearchResults:
    """Takes the events of a search in; knows how it stands."""

    def __init__(self, plan: Search) -> None:
        self.plan = plan
        self.rungs: list[RungDone] = []
        self.checked: CheckDone | None = None
        self.current: Began | None = None

    def add(self, event: Began | Event | RungDone | CheckDone) -> None:
        """Takes in what an event says. Those of a race are in its own results already."""
        if isinstance(event, Began):
            self.current = event
        elif isinstance(event, RungDone):
            self.rungs.append(event)
            self.current = None
        elif isinstance(event, CheckDone):
            self.checked = event
            self.current = None

    @property
    def winner(self) -> Candidate | None:
        """The candidate that came first on the last rung; None as long as that is not through."""
        if len(self.rungs) < len(self.plan.rungs):
            return None
        return self.plan.pool[self.rungs[-1].kept[0]]

    @property
    def leader(self) -> Candidate | None:
        """The first of the last rung that is through."""
        return self.plan.pool[self.rungs[-1].kept[0]] if self.rungs else None

    def scheme(self, compared: Sequence[Compared] = ()) -> Scheme | None:
        """The winner as a scheme to be written, with its verdicts and the network it is for.

        None as long as there is no winner.
        """
        winner, plan = self.winner, self.plan
        if winner is None:
            return None
        verdicts = "; ".join(
            f"against {each.reference} {each.text}"
            for each in compared
            if each.start == compared[0].start
        )
        told = f"on test {verdicts}" if verdicts and self.checked else "not checked on test"
        if self.is_reference:
            told = "fanin itself"
        return replace(
            winner.start,
            summary=f"{winner.name}, the first of {len(plan.pool):,} candidates on dev; {told}",
            source=f"fanin search, budget {plan.budget:,}, seed {plan.seed}",
            made_for=MadeFor(
                activation_name(winner.network.activation), winner.network.normalisation
            ),
        )

    @property
    def rate(self) -> float:
        """The learning rate to train the winner with: tuned where the check has, or its own."""
        if self.checked is not None and self.checked.lanes:
            return self.checked.rates[1]
        return self.plan.options.rate if self.winner is None else self.winner.lr

    @property
    def is_reference(self) -> bool:
        """Whether the winner is `fanin` itself in the search's own network."""
        return self.winner is not None and not self.plan.lanes_of_check(self.winner)

    def placed(self, place: int) -> list[Placed]:
        """How the candidate at a place of the pool did, rung by rung."""
        found: list[Placed] = []
        for rung in self.rungs:
            if place not in rung.candidates:
                continue
            at = rung.candidates.index(place)
            order = ranked(rung.dev_loss, self.plan.uniform_loss)
            losses = rung.dev_loss[at]
            found.append(
                Placed(
                    rung.number,
                    order.index(at) + 1,
                    len(order),
                    mean_loss(losses, self.plan.uniform_loss),
                    lost(losses, self.plan.uniform_loss),
                    losses,
                )
            )
        return found

    def placed_reference(self) -> list[Placed]:
        """The same of `fanin` in the search's own network, at its own rate; empty if not tried."""
        place = self.plan.place_of_reference
        return [] if place is None else self.placed(place)

    def compared(self, *, margin: float = MARGIN, level: float = LEVEL) -> tuple[Compared, ...]:
        """The verdicts of the check, all of which hold with a chance of `level`.

        First the winner against `fanin`; where it has another network than that, then against
        `fanin` in the same network, and that one against `fanin`, which is what the network
        brings. An interim check, which is not through, is judged on dev losses. Raises OptionError
        for settings that are none.
        """
        names, losses, seeds = self._losses_of_check()
        pairs = {0: (), 1: (), 2: ((1, 0),), 3: ((1, 0), (1, 2), (2, 0))}[len(names)]
        each_level = 1 - (1 - level) / max(len(pairs), 1)
        found: list[Compared] = []
        for start, reference in pairs:
            standings = judge(
                {names[reference]: losses[reference], names[start]: losses[start]},
                uniform_loss=self.plan.uniform_loss,
                seeds=seeds,
                margin=margin,
                level=each_level,
                interim=self.checked is None,
            )
            standing = standings[names[start]]
            found.append(Compared(names[start], names[reference], standing, each_level))
        return tuple(found)

    def document(self, compared: Sequence[Compared] = ()) -> dict[str, Any]:
        """All that there is to tell, as JSON values; losses in nats per symbol."""
        plan, winner = self.plan, self.winner
        return {
            "options": plan.options_on_record(),
            "machine": msgspec.to_builtins(this_machine()),
            "uniform_loss": plan.uniform_loss,
            "budget": plan.budget,
            "spent": self.spent,
            "spent_on_check": self.spent_on_check,
            "seconds": self.seconds,
            "candidates": [
                {
                    **each.describe(),
                    "drawn": each.drawn,
                    "rungs": msgspec.to_builtins(self.placed(place)),
                }
                for place, each in enumerate(plan.pool)
            ],
            "rungs": msgspec.to_builtins(self.rungs),
            "winner": None if winner is None else winner.describe(),
            "lr": self.rate,
            "is_reference": self.is_reference,
            "check": self.checked and msgspec.to_builtins(self.checked),
            "comparisons": [
                {
                    "start": each.start,
                    "reference": each.reference,
                    "text": each.text,
                    "level": each.level,
                    **msgspec.to_builtins(each.standing.comparison),
                }
                for each in compared
            ],
        }

    @property
    def interim_check(self) -> bool:
        """Whether a check is under way that has measured something."""
        return self.current is not None and self.current.rung is None and self.current.race.measured

    @property
    def spent(self) -> float:
        """The runs of all races so far, a part of one for what was trained of it."""
        steps = sum(rung.trained for rung in self.plan.rungs[: len(self.rungs)])
        if self.current is not None:
            race = self.current.race
            steps += (
                race.steps_done + len(race.tuned) * self._tuned_by_lane * self.plan.options.steps
            )
        return steps / self.plan.options.steps + self.spent_on_check

    @property
    def spent_on_check(self) -> int:
        """The runs of the check, as soon as it is through."""
        if self.checked is None:
            return 0
        lanes = len(self.checked.lanes)
        return lanes * (len(self.checked.seeds) + self._tuned_by_lane)

    @property
    def _tuned_by_lane(self) -> int:
        tuning = self.plan.tuning
        return 0 if tuning is None else len(tuning.rates) * len(tuning.seeds)

    @property
    def seconds(self) -> float:
        """The wall time of the races that are through."""
        check = 0.0 if self.checked is None else self.checked.seconds
        return sum(rung.seconds for rung in self.rungs) + check

    def _losses_of_check(
        self,
    ) -> tuple[tuple[str, ...], Sequence[Sequence[Number]], tuple[int, ...]]:
        if self.checked is not None:
            done = self.checked
            nan = float("nan")
            whole = [[nan if loss is None else loss for loss in lane] for lane in done.test_loss]
            return done.lanes, whole, done.seeds
        if not self.interim_check:
            return (), (), ()
        assert self.current is not None
        race = self.current.race
        lanes = range(len(race.plan.lanes))
        names = tuple(lane.name for lane in race.plan.lanes)
        return names, [race.dev_losses(lane, race.step) for lane in lanes], race.plan.seeds
