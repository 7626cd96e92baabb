"""The verdict of step zero beside what training makes of it, for networks drawn at random.

Each family of networks is drawn, judged before its first step, and trained as one race. What was
found goes to an append-only file, a line a family, so that a calibration that was stopped goes on
with the next one.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import jax
import msgspec
import numpy as np

from fanin.atomic_file import reason
from fanin.corpus import Corpus, Examples
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks import check
from fanin.diagnosis.recorder import nonlinearities, record
from fanin.diagnosis.recording import Recording
from fanin.diagnosis.report import Verdict, worst
from fanin.errors import OptionError
from fanin.networks import Parameters
from fanin.race.draws import Family, Member, draw_families
from fanin.race.lanes import Lane, Run
from fanin.race.machine import this_machine
from fanin.race.record import RecordError
from fanin.race.run import race
from fanin.starts import find_start
from fanin.training import TrainingOptions
from fanin.training.loop import first_contexts
from fanin.training.lr_finder import find_learning_rate

# Enough to tell dead units from unlucky ones.
JUDGED_ON = 1024
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
class Judged:
    """One check's verdict, and the number that it judged."""

    name: str
    verdict: Verdict
    value: float | None


@final
@dataclass(frozen=True)
class Measured:
    """One network: what step zero says of it, and how it ended.

    `suggested` is the finder's rate, None where it found none; `numbers` are what checks look at
    besides the value that they tell. `loss` is the dev loss after training, None where it is not
    finite; `first_loss` that of the start.
    """

    start: str
    seed: int
    rate: float
    suggested: float | None
    checks: tuple[Judged, ...]
    numbers: dict[str, float | None]
    first_loss: float | None
    loss: float | None

    @property
    def verdict(self) -> Verdict:
        return worst(each.verdict for each in self.checks)


@final
@dataclass(frozen=True)
class MeasuredFamily:
    """All networks of one shape, and the seconds that they took."""

    family: int
    network: dict[str, Any]
    seconds: float
    networks: tuple[Measured, ...]


def calibrate(corpus: Corpus, settings: Calibration, path: str | Path) -> Iterator[MeasuredFamily]:
    """Judge and train; yields each family as it is through, those on record first.

    Raises RecordError for a file that cannot be used or holds another calibration.
    """
    path = Path(path)
    known = _opened(path, _opening(corpus, settings))
    yield from known.values()
    corpus = replace(corpus, dev=_some(corpus.dev, MEASURED_ON), test=_some(corpus.test, 1))
    for family in settings.draw(corpus):
        if family.number in known:
            continue
        measured = _measured(corpus, family, settings.steps)
        _append(path, measured)
        yield measured
        if family.number % FAMILIES_AT_ONCE == FAMILIES_AT_ONCE - 1:
            jax.clear_caches()


def _measured(corpus: Corpus, family: Family, steps: int) -> MeasuredFamily:
    began = time.perf_counter()
    judged = [_judged(corpus, family, member, steps) for member in family.members]
    lanes = [
        Lane(
            f"{place}",
            family.network,
            find_start(each.start),
            TrainingOptions(steps=steps, lr=each.rate),
        )
        for place, each in enumerate(judged)
    ]
    runs = [Run(place, each.seed) for place, each in enumerate(judged)]
    losses: dict[Run, list[float]] = {}
    for progress in race(lanes, runs, corpus, evaluate_every=steps):
        for run, loss in zip(progress.runs, progress.dev_loss.tolist(), strict=True):
            losses.setdefault(run, []).append(loss)
    return MeasuredFamily(
        family.number,
        family.network.describe(),
        time.perf_counter() - began,
        tuple(
            replace(each, first_loss=losses[run][0], loss=losses[run][-1])
            for run, each in zip(runs, judged, strict=True)
        ),
    )


def _judged(corpus: Corpus, family: Family, member: Member, steps: int) -> Measured:
    """What is known of a network before it is trained."""
    key = jax.random.key(member.seed)
    parameters = find_start(member.start)(family.network, key, first_contexts(corpus))
    suggested = _suggested(corpus, family, parameters, steps)
    rate = float(f"{(suggested or LOWEST_RATE) * member.rate_factor:.3g}")
    some = _some(corpus.train, JUDGED_ON)
    recording = record(family.network, parameters, some.contexts, some.targets, learning_rate=rate)
    found = check(Case(recording, nonlinearities(family.network)))
    return Measured(
        start=member.start,
        seed=member.seed,
        rate=rate,
        suggested=suggested,
        checks=tuple(Judged(each.name, each.verdict, each.value) for each in found),
        numbers=_numbers(recording),
        first_loss=None,
        loss=None,
    )


def _suggested(corpus: Corpus, family: Family, parameters: Parameters, steps: int) -> float | None:
    # One seed for all of a family, since the finder is compiled for its options.
    options = TrainingOptions(steps=steps)
    try:
        search = find_learning_rate(family.network, parameters, corpus, options, steps=FINDER_STEPS)
    except OptionError:  # the first step was already too much
        return None
    return search.suggestion


def _numbers(recording: Recording) -> dict[str, float | None]:
    output = next(each for each in recording.layers if each.role == "output")
    updates = [
        own.update_to_data
        for layer in recording.layers
        for own in layer.parameters
        if own.name == layer.weight and own.update_to_data is not None
    ]
    return {
        "class offset": recording.loss and recording.loss.class_offset,
        "output gain": output.gain,
        "least update": min(updates, default=None),
        "largest update": max(updates, default=None),
    }


def _some(examples: Examples, count: int) -> Examples:
    """So many of the examples, evenly spaced."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(np.int64)
    return Examples(examples.contexts[places], examples.targets[places])


def _opening(corpus: Corpus, settings: Calibration) -> dict[str, Any]:
    words = "\n".join(corpus.words.words).encode()
    return {
        "calibration": asdict(settings),
        "words": hashlib.sha256(words).hexdigest(),
        "block": corpus.block,
        "split_seed": corpus.split_seed,
        "machine": msgspec.to_builtins(this_machine()),
    }


def _opened(path: Path, opening: dict[str, Any]) -> dict[int, MeasuredFamily]:
    """The families that are on record; a last line that was cut off is dropped."""
    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        first, *lines = whole.splitlines() or [b""]
        if not first:
            path.write_bytes(msgspec.json.encode(opening) + b"\n")
        elif len(whole) < len(content):
            path.write_bytes(whole)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be used: {reason(error)}") from None
    try:
        if first and _same(msgspec.json.decode(first)) != _same(opening):
            raise RecordError(f"{path}: holds something else; give the same options, or another")
        found = [msgspec.json.decode(line, type=MeasuredFamily) for line in lines]
    except msgspec.DecodeError as error:
        raise RecordError(f"{path}: is no record of a calibration: {error}") from None
    return {each.family: each for each in found}


def _same(opening: Any) -> Any:
    """What makes it one calibration: not the machine, which is told and no more."""
    if not isinstance(opening, dict):
        return None
    return {name: part for name, part in opening.items() if name != "machine"}


def _append(path: Path, measured: MeasuredFamily) -> None:
    try:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(measured) + b"\n")
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {reason(error)}") from None
