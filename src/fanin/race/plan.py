"""What is raced: lanes, seeds, words, and how rates are tuned; and its name in a record."""

import hashlib
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import jax

from fanin.corpus import Corpus
from fanin.errors import OptionError, ShapeError
from fanin.race.events import Opening
from fanin.race.lanes import Lane, check_lanes
from fanin.race.machine import this_machine
from fanin.race.run import evaluation_interval

# Two a decade would step over the best rate, four would cost half as much again.
_FACTORS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# Far from the seeds that anybody races, so that no verdict is on a seed that a rate was chosen by.
FIRST_TUNING_SEED = 2**31


@final
@dataclass(frozen=True)
class Tuning:
    """The search for each lane's learning rate, before the race and with other seeds.

    Every lane gets the same rates, seeds and steps: `rates`, or where there are none, from a
    tenth to ten times the rate that its options have.
    """

    rates: tuple[float, ...] = ()
    seeds: tuple[int, ...] = tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + 3))

    def __post_init__(self) -> None:
        if not all(math.isfinite(rate) and rate > 0 for rate in self.rates):
            raise OptionError(f"rates to tune must be positive numbers; found {self.rates}")
        if len(set(self.rates)) == 1 or len(set(self.rates)) < len(self.rates):
            raise OptionError(f"tuning takes two rates or more, each once; found {self.rates}")
        if not self.seeds:
            raise OptionError("tuning takes one seed or more; found none")

    def rates_of(self, lane: Lane) -> tuple[float, ...]:
        """The rates that are tried, rising."""
        grid = self.rates or tuple(float(f"{f * lane.options.rate:.3g}") for f in _FACTORS)
        return tuple(sorted(grid))

    def variants(self, lane: Lane) -> list[Lane]:
        """The lane with each of its rates."""
        return [
            replace(lane, name=f"lr={rate:g}", options=replace(lane.options, lr=rate))
            for rate in self.rates_of(lane)
        ]


@final
@dataclass(frozen=True, eq=False)
class Race:
    """Lanes that train with the same seeds on the same words.

    A seed decides initialisation and mini-batch order, both shared by all lanes. Raises
    OptionError for lanes and seeds that make no race, and ShapeError for a network that does not
    fit the corpus.
    """

    lanes: tuple[Lane, ...]
    seeds: tuple[int, ...]
    corpus: Corpus
    tuning: Tuning | None = None
    evaluate_every: int | None = None

    def __post_init__(self) -> None:
        check_lanes(self.lanes)
        _check_seeds(self.seeds, () if self.tuning is None else self.tuning.seeds)
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise OptionError(f"evaluate_every must be 1 or more; found {self.evaluate_every}")
        for lane in self.lanes:
            _check_fit(lane, self.corpus)

    @property
    def steps(self) -> int:
        return self.lanes[0].options.steps

    @property
    def interval(self) -> int:
        """Steps from one evaluation to the next."""
        return self.evaluate_every or evaluation_interval(self.steps)

    @property
    def uniform_loss(self) -> float:
        """log V: the loss of a blind guess, in nats per symbol."""
        return math.log(len(self.corpus.vocabulary))

    def opening(self) -> Opening:
        """What decides the numbers: the first line of a record."""
        corpus = self.corpus
        digest = hashlib.sha256("\n".join(corpus.words.words).encode()).hexdigest()
        options: dict[str, Any] = {
            "words": {"count": len(corpus.words.words), "sha256": digest},
            "block": corpus.block,
            "split_seed": corpus.split_seed,
            "evaluate_every": self.interval,
            "tuning": None if self.tuning is None else asdict(self.tuning),
            "platform": jax.default_backend(),
        }
        for lane in self.lanes:
            options[f"lane {lane.name}"] = _described(lane)
        names = tuple(lane.name for lane in self.lanes)
        return Opening(names, self.seeds, options, this_machine())


def _described(lane: Lane) -> dict[str, Any]:
    start = asdict(lane.start)
    for told in ("summary", "source", "made_for"):
        del start[told]
    training = asdict(lane.options) | {"lr": lane.options.rate}
    for other in ("seed", "eval_every"):
        del training[other]
    return {"start": start, "network": lane.network.describe(), "training": training}


def _check_seeds(seeds: tuple[int, ...], tuning: tuple[int, ...]) -> None:
    if not seeds:
        raise OptionError("a race takes one seed or more; found none")
    if len(set(seeds)) < len(seeds):
        raise OptionError(f"a seed is there twice in {list(seeds)}: each makes one pair")
    if strange := [seed for seed in seeds + tuning if not 0 <= seed < 2**32]:
        raise OptionError(f"seeds are from 0 to {2**32 - 1}; found {strange[0]}")
    if shared := set(seeds) & set(tuning):
        raise OptionError(
            f"the seed {min(shared)} is both for tuning and for the race; a rate that was chosen "
            "on it would flatter its start: give them apart"
        )


def _check_fit(lane: Lane, corpus: Corpus) -> None:
    found = {"vocabulary": len(corpus.vocabulary), "block": corpus.block}
    for name, size in found.items():
        if getattr(lane.network, name) != size:
            raise ShapeError(
                f"the network of {lane.name} has {name}={getattr(lane.network, name)} and the "
                f"corpus {size}; make both alike"
            )
