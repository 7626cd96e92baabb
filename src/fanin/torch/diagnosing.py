"""`diagnose` for a user's own module: record, judge, and put right on request."""

import copy
import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

from torch import nn

from fanin.diagnosis.judge import judge
from fanin.diagnosis.report import Prescription, Report, ReportError
from fanin.diagnosis.thresholds import THRESHOLDS, Thresholds
from fanin.errors import OptionError
from fanin.torch import mending
from fanin.torch.losses import LossFunction
from fanin.torch.passing import Inputs
from fanin.torch.preserve import undisturbed
from fanin.torch.record import record


def diagnose(
    module: nn.Module,
    inputs: Inputs,
    targets: Any = None,
    loss: str | LossFunction | None = "cross_entropy",
    *,
    ignore_index: int = -100,
    learning_rate: float | None = None,
    thresholds: Thresholds = THRESHOLDS,
) -> Report:
    """Tell before the first step whether a module will learn, why not, and what to do.

    `inputs` are a tensor, a tuple (`module(*inputs)`) or a dictionary (`module(**inputs)`); one
    forward and one backward pass over them is measured, in the mode that the module is in.
    `loss` is "cross_entropy" (classes last or second, by the targets' shape), "mse",
    "binary_cross_entropy" (of logits), or a callable of what the module returns and the targets.
    With None, or without targets, the output's gradient is random and no loss is judged.

    Parameters, buffers, `.grad`, flags, hooks and random states are afterwards as before. Raises
    ShapeError for inputs, labels or losses that do not fit, PassError for a module that cannot be
    looked into or fails, OptionError for a learning rate or thresholds that are none.
    """
    if learning_rate is not None and not _is_rate(learning_rate):
        raise OptionError(f"a learning rate is a number above 0; found {learning_rate!r}")
    if not isinstance(thresholds, Thresholds):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(f"thresholds are fanin.diagnosis.Thresholds; found {thresholds!r}")
    subject = ModuleSubject(module, inputs, targets, loss, ignore_index, learning_rate, thresholds)
    return subject.diagnose(module)


def _is_rate(found: Any) -> bool:
    return isinstance(found, int | float) and 0.0 < found < math.inf


@final
@dataclass(frozen=True, eq=False)
class ModuleSubject:
    """A module with the batch on which it was diagnosed."""

    module: nn.Module
    inputs: Inputs
    targets: Any
    loss: str | LossFunction | None
    ignore_index: int
    learning_rate: float | None
    thresholds: Thresholds
    axes: dict[str, int] = field(default_factory=dict[str, int])
    """on which axis of a weight its units lie, once that is known"""

    @property
    def held(self) -> nn.Module:
        return self.module

    def on(self, held: nn.Module) -> "ModuleSubject":
        return replace(self, module=held)

    def diagnose(self, mended: nn.Module) -> Report:
        with undisturbed():
            recorded = record(
                mended,
                self.inputs,
                self.targets,
                loss=self.loss,
                ignore_index=self.ignore_index,
                learning_rate=self.learning_rate,
            )
            axes = recorded.axes
            return judge(
                recorded.recording,
                recorded.nonlinearities,
                thresholds=self.thresholds,
                subject=replace(self, module=mended, axes=axes),
                write=partial(mending.code, module=mended, axes=axes, inputs=self.inputs),
                write_choice=mending.choice_code,
            )

    def mended(self, prescriptions: tuple[Prescription, ...]) -> nn.Module:
        try:
            made = copy.deepcopy(self.module)
        except Exception as error:
            raise ReportError(
                f"the module cannot be copied ({error}); fix_() changes it in place"
            ) from error
        mending.apply(made, prescriptions, self.axes, self.inputs)
        return made

    def given(self, mended: nn.Module) -> nn.Module:
        return mended

    def mend_(self, prescriptions: tuple[Prescription, ...]) -> nn.Module:
        mending.apply(self.module, prescriptions, self.axes, self.inputs)
        return self.module
