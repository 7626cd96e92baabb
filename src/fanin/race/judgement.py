"""What step zero says of the networks of a calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import jax

from fanin.corpus import Corpus
from fanin.diagnosis.case import Case
from fanin.diagnosis.checks import check
from fanin.diagnosis.recorder import nonlinearities, record
from fanin.diagnosis.recording import Recording
from fanin.diagnosis.report import Verdict, worst
from fanin.race.calibration import FAMILIES_AT_ONCE, Calibration, Trained, TrainedFamily, some
from fanin.race.draws import Family
from fanin.starts import find_start
from fanin.training.loop import first_contexts

# Enough to tell dead units from unlucky ones.
JUDGED_ON = 1024


@final
@dataclass(frozen=True)
class Checked:
    """One check's verdict, and the number that it judged."""

    name: str
    verdict: Verdict
    value: float | None


@final
@dataclass(frozen=True)
class Judgement:
    """All checks of a network; `numbers` are what they look at besides the value that they tell."""

    checks: tuple[Checked, ...]
    numbers: dict[str, float | None]

    @property
    def verdict(self) -> Verdict:
        return worst(each.verdict for each in self.checks)

    @property
    def bad(self) -> set[str]:
        """The checks that say bad."""
        return {each.name for each in self.checks if each.verdict == "bad"}


def judge_families(
    families: Sequence[TrainedFamily], corpus: Corpus, settings: Calibration
) -> Iterator[tuple[Judgement, ...]]:
    """The judgement of each network of each family, drawn again by its start and seed."""
    drawn = {family.number: family for family in settings.draw(corpus)}
    for count, family in enumerate(families, start=1):
        yield tuple(_judged(corpus, drawn[family.family], each) for each in family.networks)
        if count % FAMILIES_AT_ONCE == 0:
            jax.clear_caches()


def _judged(corpus: Corpus, family: Family, member: Trained) -> Judgement:
    key = jax.random.key(member.seed)
    parameters = find_start(member.start)(family.network, key, first_contexts(corpus))
    given = some(corpus.train, JUDGED_ON)
    recording = record(
        family.network, parameters, given.contexts, given.targets, learning_rate=member.rate
    )
    found = check(Case(recording, nonlinearities(family.network)))
    return Judgement(
        tuple(Checked(each.name, each.verdict, each.value) for each in found), _numbers(recording)
    )


def _numbers(recording: Recording) -> dict[str, float | None]:
    output = next(each for each in recording.layers if each.role == "output")
    updates = [
        own.update_to_data
        for layer in recording.layers
        if layer.role != "output"
        for own in layer.parameters
        if own.name == layer.weight and own.update_to_data is not None
    ]
    return {
        "class offset": recording.loss and recording.loss.class_offset,
        "output gain": output.gain,
        "least update": min(updates, default=None),
        "largest update": max(updates, default=None),
    }
