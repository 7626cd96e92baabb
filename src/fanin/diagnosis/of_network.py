"""`diagnose` for networks of fanin's: measure, judge, prescribe, and put right on request."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Integer

from fanin.diagnosis import mending
from fanin.diagnosis.judge import judge
from fanin.diagnosis.recorder import PLAIN, nonlinearities, record
from fanin.diagnosis.report import Prescription, Report, ReportError
from fanin.diagnosis.thresholds import THRESHOLDS, Thresholds
from fanin.networks import Network, Parameters, Statistics
from fanin.training.optimiser import Optimiser

EXAMPLES = 4096
"""At most so many examples are measured; at least 1,024 tell dead units from unlucky ones."""


def diagnose(
    network: Network,
    parameters: Parameters,
    contexts: Integer[Any, "examples block"],
    targets: Integer[Any, " examples"],
    *,
    statistics: Statistics | None = None,
    learning_rate: float = 0.1,
    optimiser: Optimiser = PLAIN,
    thresholds: Thresholds = THRESHOLDS,
) -> Report:
    """Tell before the first step whether a network will learn, why not, and what to do.

    Of more than 4,096 examples that many are measured, evenly spaced; give 1,024 or more. Batch
    normalisation works with their own moments, as in the first step; `statistics`, where given,
    are checked for values that are not finite. `learning_rate` and `optimiser` are for the size of
    the first update. Raises ShapeError for arrays that do not fit, and
    IndexRangeError for symbols or targets out of range, before anything is computed.
    """
    contexts, targets = np.asarray(contexts), np.asarray(targets)
    if len(targets) > EXAMPLES and len(contexts) == len(targets):
        some = np.linspace(0, len(targets) - 1, EXAMPLES).astype(np.int64)
        contexts, targets = contexts[some], targets[some]
    subject = NetworkSubject(
        network,
        parameters,
        contexts,
        targets,
        statistics or {},
        learning_rate,
        optimiser,
        thresholds,
    )
    return subject.diagnose(Mended(parameters, subject.statistics))


@final
@dataclass(frozen=True, eq=False)
class Mended:
    """Parameters by name, and the running statistics of batch normalisation that go with them."""

    parameters: Parameters
    statistics: Statistics


@final
@dataclass(frozen=True, eq=False)
class NetworkSubject:
    """A network with the examples on which it was diagnosed."""

    network: Network
    parameters: Parameters
    contexts: np.ndarray
    targets: np.ndarray
    statistics: Statistics
    learning_rate: float
    optimiser: Optimiser
    thresholds: Thresholds

    @property
    def held(self) -> Parameters:
        return self.parameters

    def on(self, held: Parameters) -> "NetworkSubject":
        return replace(self, parameters=held)

    def diagnose(self, mended: Mended) -> Report:
        recording = record(
            self.network,
            mended.parameters,
            self.contexts,
            self.targets,
            statistics=mended.statistics,
            learning_rate=self.learning_rate,
            optimiser=self.optimiser,
        )
        return judge(
            recording,
            nonlinearities(self.network),
            thresholds=self.thresholds,
            subject=replace(self, parameters=mended.parameters, statistics=mended.statistics),
            write=partial(mending.code, statistics=mended.statistics),
            write_choice=mending.choice_code,
            choice_options=mending.CHOICE_OPTIONS,
        )

    def mended(self, prescriptions: tuple[Prescription, ...]) -> Mended:
        parameters, statistics = dict(self.parameters), dict(self.statistics)
        for prescription in prescriptions:
            mending.apply(prescription, self.network, parameters, statistics, self.contexts)
        return Mended(parameters, statistics)

    def given(self, mended: Mended) -> Parameters:
        return mended.parameters

    def mend_(self, prescriptions: tuple[Prescription, ...]) -> Mended:
        """Raises ReportError where the mappings that were given cannot be changed."""
        mended = self.mended(prescriptions)
        _update(self.parameters, mended.parameters)
        _update(self.statistics, mended.statistics)
        return Mended(self.parameters, self.statistics)


def _update(own: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = {name: array for name, array in new.items() if array is not own[name]}
    if not changed:
        return
    if not isinstance(own, MutableMapping):
        raise ReportError(
            f"a {type(own).__name__} cannot be changed in place; use the copy that fixed() gives"
        )
    own.update(changed)
