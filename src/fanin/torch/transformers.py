"""A Hugging Face TrainerCallback that diagnoses a model at its first batch, and warns."""
# pyright: basic, reportMissingImports=false
# The library may not be there where types are checked.

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fanin.diagnosis.report import Report
from fanin.torch.healthy import looked


class StepZero(TrainerCallback):
    """`Trainer(callbacks=[StepZero()])`: an UnhealthyWarning where the model's start is not good.

    The loss is the model's own; the report stays in `report`. Training goes on where none could be
    made.
    """

    def __init__(self) -> None:
        self.report: Report | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module | None = kwargs.get("model")
        if model is None or state.global_step or not state.is_world_process_zero:
            return

        def at_first_batch(
            module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
        ) -> None:
            handle.remove()
            labels = named.get("labels")
            classes = isinstance(labels, Tensor) and not labels.is_floating_point()
            loss = cross_entropy if classes else None
            self.report = looked(module, named or given, labels if classes else None, loss)

        handle = model.register_forward_pre_hook(at_first_batch, with_kwargs=True)


def cross_entropy(output: Any, labels: Any) -> Tensor:
    """The loss that the model itself has made of its logits and the labels."""
    return output["loss"]
