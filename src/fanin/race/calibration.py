"""What training makes of networks drawn at random, to set beside the verdict of step zero.

Each family of networks is trained as one race. How its members ended goes to an append-only file,
a line a family, so that a calibration that was stopped goes on with the next one. What step zero
says of them is not on record: a network comes again from its start and seed, and is judged anew.
"""

import hashlib
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import jax
import msgspec
import numpy as np

from fanin.corpus import Corpus, Examples
from fanin.errors import OptionError
from fanin.networks import Parameters
from fanin.race.draws import Family, Member, draw_families
from fanin.race.lanes import Lane, Run
from fanin.race.lines import Opening, open_lines
from fanin.race.machine import this_machine
from fanin.race.run import race
from fanin.starts import find_start
from fanin.training import TrainingOptions
from fanin.training.loop import first_contexts
from fanin.training.lr_finder import find_learning_rate

# Losses are compared between networks on the same examples, so fewer than all will do.
MEASURED_ON = 4096
# The finder's probe is a hundred times a batch; its usual 1,000 steps would be most of the time.
FINDER_STEPS = 100
# Where the first step at the lowest rate is already too much.
LOWEST_RATE = 1e-4
# Compiled programs are thrown away now and then: each process has only so many memory maps.
FAMILIES_AT_ONCE = 32


@final
@dataclass(frozen=True)
class Calibration:
    """What decides the numbers of a calibration."""

    families: int = 32
    members: int = 64
    steps: int = 2_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("families", "members", "steps"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more; found {getattr(self, name)}")
        if self.seed < 0:
            raise OptionError(f"the first seed must be 0 or more; found {self.seed}")

    def draw(self, corpus: Corpus) -> list[Family]:
        return draw_families(
            self.families,
            self.members,
            vocabulary=len(corpus.vocabulary),
            block=corpus.block,
            seed=self.seed,
        )


@final
@dataclass(frozen=True)
class Trained:
    """One network, and how it ended.

    `suggested` is the finder's rate, None where it found none. `loss` is the dev loss after
    training, None where it is not finite; `first_loss` that of the start.
    """

    start: str
    seed: int
    rate: float
    suggested: float | None
    first_loss: float | None = None
    loss: float | None = None

    @property
    def rate_factor(self) -> float | None:
        """Its learning rate over the one that the finder suggests."""
        return None if self.suggested is None else self.rate / self.suggested


@final
@dataclass(frozen=True)
class TrainedFamily:
    """All networks of one shape, and the seconds that they took."""

    family: int
    network: dict[str, Any]
    seconds: float
    networks: tuple[Trained, ...]


@final
class CalibrationOpening(Opening, frozen=True, tag="calibration", tag_field="kind"):
    """The first line of the record."""


@final
class FamilyLine(msgspec.Struct, frozen=True, tag="family", tag_field="kind"):
    """A line of the record."""

    trained: TrainedFamily


def calibrate(
    corpus: Corpus, settings: Calibration, path: str | Path | None = None
) -> Generator[TrainedFamily, None, None]:
    """Train all families; yields each as it is through, those in the file at `path` first.

    Raises RecordError for a file that cannot be used or holds another calibration.
    """
    with ExitStack() as stack:
        record, known = None, dict[int, TrainedFamily]()
        if path is not None:
            opening = _opening(corpus, settings)
            record, lines = open_lines(Path(path), opening, FamilyLine, "calibration")
            stack.enter_context(record)
            known = {line.trained.family: line.trained for line in lines}
        yield from known.values()
        corpus = replace(corpus, dev=measured_examples(corpus.dev), test=some(corpus.test, 1))
        for family in settings.draw(corpus):
            if family.number in known:
                continue
            trained = _trained(corpus, family, settings.steps)
            if record is not None:
                record.append(FamilyLine(trained))
            yield trained
            if family.number % FAMILIES_AT_ONCE == FAMILIES_AT_ONCE - 1:
                jax.clear_caches()


def _trained(corpus: Corpus, family: Family, steps: int) -> TrainedFamily:
    began = time.perf_counter()
    members = [_begun(corpus, family, member, steps) for member in family.members]
    lanes = [
        Lane(
            f"{place}",
            family.network,
            find_start(each.start),
            TrainingOptions(steps=steps, lr=each.rate),
        )
        for place, each in enumerate(members)
    ]
    runs = [Run(place, each.seed) for place, each in enumerate(members)]
    losses: dict[Run, list[float]] = {}
    for progress in race(lanes, runs, corpus, evaluate_every=steps):
        for run, loss in zip(progress.runs, progress.dev_loss.tolist(), strict=True):
            losses.setdefault(run, []).append(loss)
    return TrainedFamily(
        family.number,
        family.network.describe(),
        time.perf_counter() - began,
        tuple(
            replace(each, first_loss=losses[run][0], loss=losses[run][-1])
            for run, each in zip(runs, members, strict=True)
        ),
    )


def _begun(corpus: Corpus, family: Family, member: Member, steps: int) -> Trained:
    """What is known of a network before it is trained."""
    key = jax.random.key(member.seed)
    parameters = find_start(member.start)(family.network, key, first_contexts(corpus))
    suggested = _suggested(corpus, family, parameters, steps)
    rate = float(f"{(suggested or LOWEST_RATE) * member.rate_factor:.3g}")
    return Trained(member.start, member.seed, rate, suggested)


def _suggested(corpus: Corpus, family: Family, parameters: Parameters, steps: int) -> float | None:
    # One seed for all of a family, since the finder is compiled for its options.
    options = TrainingOptions(steps=steps)
    try:
        search = find_learning_rate(family.network, parameters, corpus, options, steps=FINDER_STEPS)
    except OptionError:  # the first step was already too much
        return None
    return search.suggestion


def measured_examples(dev: Examples) -> Examples:
    """Those of the dev set that losses are measured on."""
    return some(dev, MEASURED_ON)


def some(examples: Examples, count: int) -> Examples:
    """So many of the examples, evenly spaced."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(np.int64)
    return Examples(examples.contexts[places], examples.targets[places])


def _opening(corpus: Corpus, settings: Calibration) -> CalibrationOpening:
    words = "\n".join(corpus.words.words).encode()
    return CalibrationOpening(
        asdict(settings)
        | {
            "words": hashlib.sha256(words).hexdigest(),
            "block": corpus.block,
            "split_seed": corpus.split_seed,
        },
        this_machine(),
    )
