"""PyTorch as a contender of `step_time`: eager, and the whole step through `torch.compile`."""

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.step_contenders import Stepwise
from benchmarks.step_problem import EXAMPLES, RATE, Problem


def _loss(parameters: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    table, weight, bias, out_weight, out_bias = parameters
    hidden = torch.tanh(torch.addmm(bias, F.embedding(x, table).flatten(1), weight))
    return F.cross_entropy(torch.addmm(out_bias, hidden, out_weight), y)


class TorchEager(Stepwise):
    """Leaf tensors, the gradients by autograd, the update in place under `no_grad`."""

    needs_grad = True

    def __init__(self, problem: Problem) -> None:
        torch.set_num_threads(1)
        self.contexts = torch.from_numpy(problem.contexts.astype(np.int64))
        self.targets = torch.from_numpy(problem.targets.astype(np.int64))
        self.batch = problem.sizes.batch
        self.parameters = [
            torch.tensor(array, requires_grad=self.needs_grad) for array in problem.start
        ]

    def draw(self) -> torch.Tensor:
        return torch.randint(0, EXAMPLES, (self.batch,))

    def step(self, examples: torch.Tensor) -> torch.Tensor:
        loss = _loss(self.parameters, self.contexts[examples], self.targets[examples])
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=-RATE)
        return loss.detach()

    def replay(self, batches: np.ndarray) -> list[float]:
        return [float(self.step(torch.from_numpy(b.astype(np.int64)))) for b in batches]


class TorchCompiled(TorchEager):
    """Look-up of the batch, loss, gradients and update compiled as one; the draw is not."""

    needs_grad = False

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        gradient_and_loss = torch.func.grad_and_value(_loss)

        def step(parameters, contexts, targets, examples):
            gradients, loss = gradient_and_loss(parameters, contexts[examples], targets[examples])
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(RATE * gradient)
            return loss

        self.program = torch.compile(step)

    def step(self, examples: torch.Tensor) -> torch.Tensor:
        return self.program(self.parameters, self.contexts, self.targets, examples)
