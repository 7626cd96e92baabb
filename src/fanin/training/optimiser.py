"""Optimisers: optax's transformations, the learning rate left out, since the step applies it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import optax

OptimiserName = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True)
class Optimiser:
    """A rule from gradients to updates, per unit of learning rate.

    "sgd" with `momentum` and with `weight_decay` added to the gradient, "adam" (Kingma and Ba
    2015) and "adamw" with decoupled weight decay (Loshchilov and Hutter 2019) are those of
    PyTorch and optax: the decay acts on every parameter.
    """

    name: OptimiserName = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0

    def transformation(self) -> "optax.GradientTransformation":
        """The rule as optax has it; its state is a pytree of arrays."""
        import optax

        decay = (
            optax.add_decayed_weights(self.weight_decay) if self.weight_decay else optax.identity()
        )
        if self.name == "sgd":
            momentum = optax.trace(self.momentum) if self.momentum else optax.identity()
            return optax.chain(decay, momentum)
        return optax.chain(optax.scale_by_adam(), decay)
