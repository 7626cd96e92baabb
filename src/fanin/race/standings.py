"""The standings of a race: each start's losses by seed, and its verdict against the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias, final

import numpy as np
from jaxtyping import Float

from fanin.errors import OptionError, ShapeError
from fanin.race.comparison import Comparison, Outcomes, compare
from fanin.race.intervals import Interval, sample_spread, t_interval

Losses: TypeAlias = Sequence[float | None] | Float[np.ndarray, "runs"]
"""One a seed, in nats per symbol: not finite where a run diverged, None where it still runs."""

MARGIN = 0.01
LEVEL = 0.95


@final
@dataclass(frozen=True)
class Standing:
    """One start. `comparison` is None for the reference itself."""

    name: str
    test_loss: tuple[float | None, ...]
    dev_loss: tuple[float | None, ...] | None
    finished: int
    diverged: int
    """runs whose loss is not finite, or worse at the end than a uniform model's"""
    pending: int
    mean: float | None
    """of the test losses of the runs that finished"""
    interval: Interval | None
    """for the mean, by t"""
    comparison: Comparison | None
    tuned_lr: float | None = None


@final
@dataclass(frozen=True)
class Standings:
    """All starts of a race, in the order in which they were named.

    Intervals are over initialisation and mini-batch order; words and split are fixed.
    """

    reference: str
    seeds: tuple[int, ...]
    starts: tuple[Standing, ...]
    uniform_loss: float
    margin: float
    level: float
    """of the verdicts of the whole race; each comparison is at `comparison_level`"""
    interim: bool
    """whether the race was not yet through"""

    @property
    def comparison_level(self) -> float:
        """1 − (1 − level)/k for k comparisons (Bonferroni)."""
        return 1 - (1 - self.level) / max(len(self.starts) - 1, 1)

    def __getitem__(self, name: str) -> Standing:
        for start in self.starts:
            if start.name == name:
                return start
        raise KeyError(name)


def judge(
    test_loss: Mapping[str, Losses],
    *,
    uniform_loss: float,
    reference: str | None = None,
    seeds: Sequence[int] | None = None,
    dev_loss: Mapping[str, Losses] | None = None,
    tuned_lr: Mapping[str, float] | None = None,
    margin: float = MARGIN,
    level: float = LEVEL,
    interim: bool = False,
    bootstrap: bool = True,
) -> Standings:
    """The verdict on each start, from its test losses by seed.

    The seeds, and their order, are the same for every start: losses at one place are a pair.
    `uniform_loss` is log V. The reference is the first start where none is named. The standings
    are interim where the caller says so or a run is not yet through. OptionError for settings
    and names, ShapeError for losses that cannot be paired.
    """
    if not test_loss:
        raise OptionError("there is nothing to judge: give at least one start")
    _check_settings(margin, level, uniform_loss)
    names = list(test_loss)
    reference = names[0] if reference is None else reference
    if reference not in test_loss:
        near = get_close_matches(reference, names, 1) or names
        raise OptionError(
            f"the reference {reference!r} is not in the race; {', '.join(map(repr, near))} would do"
        )
    of_tests = {name: _losses(losses) for name, losses in test_loss.items()}
    of_dev = {name: _losses(losses) for name, losses in (dev_loss or {}).items()}
    numbers = tuple(range(len(of_tests[names[0]])) if seeds is None else seeds)
    _check_pairing(of_tests, of_dev, numbers)
    outcomes = {name: Outcomes.of(losses, uniform_loss) for name, losses in of_tests.items()}
    alpha = (1 - level) / max(len(names) - 1, 1)
    starts: list[Standing] = []
    for name in names:
        comparison = None
        if name != reference:
            comparison = compare(
                outcomes[name],
                outcomes[reference],
                reference,
                margin=margin,
                alpha=alpha,
                bootstrap=bootstrap,
            )
        rate = (tuned_lr or {}).get(name)
        starts.append(
            _standing(
                name, of_tests[name], of_dev.get(name), outcomes[name], level, comparison, rate
            )
        )
    return Standings(
        reference=reference,
        seeds=numbers,
        starts=tuple(starts),
        uniform_loss=uniform_loss,
        margin=margin,
        level=level,
        interim=interim or any(start.pending for start in starts),
    )


def _standing(
    name: str,
    test_loss: tuple[float | None, ...],
    dev_loss: tuple[float | None, ...] | None,
    outcomes: Outcomes,
    level: float,
    comparison: Comparison | None,
    tuned_lr: float | None,
) -> Standing:
    losses = outcomes.losses[outcomes.finished]
    mean = interval = None
    if losses.size:
        mean = float(np.mean(losses))
        spread = sample_spread(losses, float(np.max(np.abs(losses))))
        interval = t_interval(mean, spread, int(losses.size), level)
    diverged = int(np.sum(outcomes.diverged))
    return Standing(
        name=name,
        test_loss=test_loss,
        dev_loss=dev_loss,
        finished=int(losses.size),
        diverged=diverged,
        pending=len(test_loss) - int(losses.size) - diverged,
        mean=mean,
        interval=interval,
        comparison=comparison,
        tuned_lr=tuned_lr,
    )


def _losses(losses: Any) -> tuple[float | None, ...]:
    return tuple(None if loss is None else float(loss) for loss in losses)


def _check_settings(margin: float, level: float, uniform_loss: float) -> None:
    if not 0 < margin < float("inf"):
        raise OptionError(f"margin is {margin}: give a difference in nats above 0, such as 0.01")
    if not 0.5 <= level < 1:
        raise OptionError(f"level is {level}: give a share from 0.5 to below 1, such as 0.95")
    if not 0 < uniform_loss < float("inf"):
        raise OptionError(f"uniform_loss is {uniform_loss}: give log V, for V symbols")


def _check_pairing(
    test_loss: Mapping[str, tuple[float | None, ...]],
    dev_loss: Mapping[str, tuple[float | None, ...]],
    seeds: tuple[int, ...],
) -> None:
    if not seeds:
        raise ShapeError("there are no losses: give at least one seed")
    if len(set(seeds)) < len(seeds):
        raise OptionError(f"a seed is there twice in {list(seeds)}: each makes one pair")
    for kind, by_name in (("test", test_loss), ("dev", dev_loss)):
        for name, losses in by_name.items():
            if len(losses) != len(seeds):
                raise ShapeError(
                    f"{name!r} has {len(losses)} {kind} losses for {len(seeds)} seeds: "
                    "give one a seed, in the seeds' order"
                )
