"""A Lightning callback that diagnoses a module at its first batch, and warns."""
# pyright: basic, reportMissingImports=false
# The library may not be there where types are checked.

import warnings
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from fanin.diagnosis.report import Report
from fanin.torch.healthy import looked
from fanin.torch.losses import LossFunction


class StepZero(Callback):
    """`Trainer(callbacks=[StepZero()])`: an UnhealthyWarning where the module's start is not good.

    A batch is (inputs, targets) unless `split` makes these two of it; one that is neither, or that
    cannot be diagnosed, is told of in a warning, and training goes on. `loss` is that of
    `fanin.torch.diagnose`. The report stays in `report`.
    """

    def __init__(
        self,
        loss: str | LossFunction | None = "cross_entropy",
        split: Callable[[Any], tuple[Any, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.loss, self.split = loss, split
        self.report: Report | None = None
        self._looked = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._looked or trainer.global_step or not trainer.is_global_zero:
            return
        self._looked = True
        if self.split is None and not (isinstance(batch, tuple | list) and len(batch) == 2):
            warnings.warn(
                f"StepZero did not look: the batch is a {type(batch).__name__}, and not (inputs, "
                "targets). Give StepZero(split=...), which makes these two of it",
                stacklevel=2,
            )
            return
        inputs, targets = batch if self.split is None else self.split(batch)
        self.report = looked(pl_module, inputs, targets, self.loss)
