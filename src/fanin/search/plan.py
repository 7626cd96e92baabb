"""What is searched: candidates, the rungs on which they are compared, and the check at the end."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, final

import jax

from fanin.corpus import Corpus
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.networks.activations import ActivationLike, activation_name
from fanin.networks.layers import NormalisationKind
from fanin.race import Lane, Race, Tuning
from fanin.race.plan import FIRST_TUNING_SEED
from fanin.race.run import evaluation_interval
from fanin.search.candidates import Candidate, candidate, candidates, identity
from fanin.search.rungs import KEPT, MOST_RUNG_SEEDS, MOST_RUNGS, MOST_SEED, Rung, cost, rungs_for
from fanin.starts import Scheme, find_start
from fanin.training import TrainingOptions

REFERENCE = "fanin"
ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
NORMALISATIONS: tuple[NormalisationKind | None, ...] = (None, "batch", "layer")

_MOST_CANDIDATES = 10_000
# Rates that tuning tries, over the one that the options have.
_FACTORS = (0.2, 0.5, 1.0, 2.0, 5.0)
# An evaluation costs what 200 steps do, and nothing on the way decides anything.
_LEAST_INTERVAL = 2_048


@final
@dataclass(frozen=True, eq=False)
class Search:
    """A search for a start within a budget of runs, by successive halving (Jamieson and Talwalkar
    2016), which keeps a third.

    A run is the training of one network for all the steps of `options`; a shorter one counts for
    its share of them. `budget` holds the search and the check of its winner. Without `candidates`
    there are as many as that allows. `network` is the one that `fanin` is checked in, and lends
    all others its sizes. `starts` are tried first, the catalogue's unless given; what is drawn
    after them is drawn from `seed`, as are the seeds of the rungs. `seeds` are those of the check,
    which no rung and no tuning may use. With `fixed_lr` all train at the rate of the options, in
    the search and in the check; otherwise rates are drawn too, and in the check both sides tune
    theirs on one grid.

    Raises OptionError for what makes no search, with the budget that would do.
    """

    corpus: Corpus
    budget: int = 200
    network: CharacterMLP | None = None
    options: TrainingOptions = field(default_factory=lambda: TrainingOptions(steps=20_000))
    starts: Sequence[Scheme] | None = None
    activations: Sequence[ActivationLike] = ACTIVATIONS
    normalisations: Sequence[NormalisationKind | None] = NORMALISATIONS
    candidates: int | None = None
    rung_seeds: int = 2
    seeds: tuple[int, ...] = tuple(range(16))
    fixed_lr: bool = False
    rates: tuple[float, ...] = ()
    tuning_seeds: int = 2
    within: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("budget", 1, 10**9),
            ("candidates", 2, _MOST_CANDIDATES),
            ("rung_seeds", 1, MOST_RUNG_SEEDS),
            ("tuning_seeds", 1, 1_000),
            ("seed", 0, MOST_SEED),
        ):
            number = getattr(self, name)
            if number is not None and not least <= number <= most:
                raise OptionError(f"{name} must be from {least:,} to {most:,}; found {number:,}")
        if not (math.isfinite(self.within) and 1 < self.within <= 1_000):
            raise OptionError(f"within must be a factor above 1, up to 1,000; found {self.within}")
        if self.options.steps < 1:
            raise OptionError("steps must be 1 or more, for there to be anything to compare")
        if self.starts is not None and not self.starts:
            raise OptionError("starts are empty; leave them out for all that are known by name")
        if self.fixed_lr and self.rates:
            raise OptionError("rates are for tuning, and fixed_lr leaves them fixed; give one")
        for name in ("activations", "normalisations"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise OptionError(f"{name} are one or more, each once; found {list(given)}")
        if used := set(self.seeds) & {seed for rung in self.rungs for seed in rung.seeds}:
            raise OptionError(
                f"the seed {min(used)} is for the search and for the check: a start that was "
                "chosen on it would be flattered; give the check others"
            )
        # All that a race would complain of, before the first is run.
        self._race_of_check(self._reference.lane(self.options))
        for rung in self.rungs[:1]:
            self.race(rung, range(rung.candidates))

    @cached_property
    def own_network(self) -> CharacterMLP:
        """The network that `fanin` is checked in: the first activation and normalisation."""
        corpus = self.corpus
        sizes = self.network or CharacterMLP(len(corpus.vocabulary), block=corpus.block)
        return replace(sizes, activation=self.activations[0], normalisation=self.normalisations[0])

    @cached_property
    def pool(self) -> tuple[Candidate, ...]:
        """All candidates, in the order in which they were drawn."""
        networks = [
            replace(self.own_network, activation=activation, normalisation=normalisation)
            for activation in self.activations
            for normalisation in self.normalisations
        ]
        endless = candidates(
            self.starts,
            networks,
            self.options.rate,
            within=self.within,
            fixed_lr=self.fixed_lr,
            seed=self.seed,
        )
        return tuple(islice(endless, self._count))

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """The races of the search; none where there is one candidate."""
        return rungs_for(len(self.pool), self.options.steps, self.rung_seeds, self.seed)

    @cached_property
    def place_of_reference(self) -> int | None:
        """Where in the pool `fanin` is, in the search's own network; None where it is not."""
        wanted = identity(self._reference)
        return next((i for i, each in enumerate(self.pool) if identity(each) == wanted), None)

    @property
    def named(self) -> int:
        """How many candidates were not drawn: they stand first in the pool."""
        return sum(not each.drawn for each in self.pool)

    @property
    def uniform_loss(self) -> float:
        """log V: the loss of a blind guess, in nats per symbol."""
        return math.log(len(self.corpus.vocabulary))

    @cached_property
    def tuning(self) -> Tuning | None:
        """How the check finds the rates of both sides."""
        if self.fixed_lr:
            return None
        grid = self.rates or tuple(float(f"{f * self.options.rate:.3g}") for f in _FACTORS)
        first = FIRST_TUNING_SEED
        return Tuning(grid, tuple(range(first, first + self.tuning_seeds)))

    def lanes_of_check(self, winner: Candidate) -> tuple[Lane, ...]:
        """What is raced in the check: `fanin`, the winner, and `fanin` in the winner's network.

        Empty where the winner is `fanin` itself; the last one is left out where it is the same as
        another.
        """
        own, lr = self._reference, self.options.rate
        made = [own]
        for start in (winner.start, own.start):
            other = candidate(start, winner.network, lr, own.network, lr)
            if identity(other) not in map(identity, made):
                made.append(other)
        return tuple(each.lane(self.options) for each in made) if len(made) > 1 else ()

    def check(self, winner: Candidate) -> Race | None:
        """The race that decides: on seeds of its own, judged on test. None where there is none."""
        lanes = self.lanes_of_check(winner)
        return self._race_of_check(*lanes) if lanes else None

    def race(self, rung: Rung, places: Sequence[int]) -> Race:
        """The race of a rung between candidates by their places; it has no test words."""
        # One example of dev in their stead, so that the test set is not even read.
        unseen = replace(
            self.corpus.dev,
            contexts=self.corpus.dev.contexts[:1],
            targets=self.corpus.dev.targets[:1],
        )
        options = replace(
            self.options,
            steps=rung.steps,
            warm_up=self.options.warm_up * rung.steps // self.options.steps,
        )
        lanes = tuple(self.pool[place].lane(options) for place in places)
        corpus = replace(self.corpus, test=unseen)
        return Race(lanes, rung.seeds, corpus, None, self._interval(rung.steps))

    def options_on_record(self) -> dict[str, Any]:
        """All that decides the numbers, as JSON values."""
        words = self.corpus.words.words
        network = self.own_network.describe()
        return {
            "seed": self.seed,
            "words": {
                "count": len(words),
                "sha256": hashlib.sha256("\n".join(words).encode()).hexdigest(),
            },
            "block": self.corpus.block,
            "split_seed": self.corpus.split_seed,
            "network": network,
            "activations": [activation_name(each) for each in self.activations],
            "normalisations": list(self.normalisations),
            "training": _training(self.options),
            "budget": self.budget,
            "rungs": [
                {"candidates": r.candidates, "steps": r.steps, "seeds": list(r.seeds)}
                for r in self.rungs
            ],
            "seeds": list(self.seeds),
            "rates": None if self.tuning is None else list(self.tuning.rates),
            "tuning_seeds": None if self.tuning is None else list(self.tuning.seeds),
            "within": self.within,
            "platform": jax.default_backend(),
        }

    def described(self) -> dict[str, Any]:
        """Every candidate by its place, as JSON values."""
        return {f"candidate {place}": each.describe() for place, each in enumerate(self.pool)}

    @cached_property
    def _reference(self) -> Candidate:
        own, lr = self.own_network, self.options.rate
        return candidate(find_start(REFERENCE), own, lr, own, lr)

    def _race_of_check(self, *lanes: Lane) -> Race:
        interval = self._interval(self.options.steps)
        return Race(lanes, self.seeds, self.corpus, self.tuning, interval)

    @cached_property
    def _count(self) -> int:
        """How many candidates there are to be."""
        most = self.budget - self._dearest_check
        if self.candidates is not None:
            if (needed := self._cost(self.candidates)) > most:
                raise self._too_small(needed, f"a search of {self.candidates:,} candidates")
            return self.candidates
        # More candidates may cost less, where they are halved once more.
        few = range(2, KEPT**MOST_RUNGS + 1)
        found = max((count for count in few if self._cost(count) <= most), default=0)
        if not found:
            raise self._too_small(min(map(self._cost, few)), "the smallest search")
        while found < _MOST_CANDIDATES and self._cost(found + 1) <= most:
            found += 1
        return found

    def _cost(self, candidates: int) -> float:
        return cost(rungs_for(candidates, self.options.steps, self.rung_seeds))

    @property
    def _dearest_check(self) -> int:
        """The runs that the check takes at most: with `fanin` in another network as third."""
        others = len(self.activations) * len(self.normalisations) > 1
        tuned = 0 if self.tuning is None else len(self.tuning.rates) * len(self.tuning.seeds)
        return (3 if others else 2) * (len(self.seeds) + tuned)

    def _too_small(self, needed: float, what: str) -> OptionError:
        check = self._dearest_check
        return OptionError(
            f"a budget of {self.budget:,} runs is too small: {what} takes {math.ceil(needed):,} "
            f"and the check up to {check:,}, so {math.ceil(needed) + check:,} would do; so would "
            "fewer seeds of the check, or a rate that is fixed"
        )

    def _interval(self, steps: int) -> int:
        return max(evaluation_interval(steps), min(_LEAST_INTERVAL, steps))


def _training(options: TrainingOptions) -> dict[str, Any]:
    described = asdict(options) | {"lr": options.rate}
    for other in ("seed", "eval_every"):
        del described[other]
    return described
