"""PyTorch as a contender of `step`: eager, and the whole step through `torch.compile`."""

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.step_problem import EXAMPLES, RATE, Problem


def _loss(parameters: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    table, weight, bias, out_weight, out_bias = parameters
    hidden = torch.tanh(torch.addmm(bias, F.embedding(x, table).flatten(1), weight))
    return F.cross_entropy(torch.addmm(out_bias, hidden, out_weight), y)


class TorchEager:
    """Leaf tensors, the gradients by autograd, the update in place under `no_grad`."""

    needs_grad = True

    def __init__(self, path: str, device: str = "cpu") -> None:
        torch.set_num_threads(1)
        problem = Problem(path)
        self.device, self.batch = device, problem.sizes.batch
        self.contexts = torch.from_numpy(problem.contexts.astype(np.int64)).to(device)
        self.targets = torch.from_numpy(problem.targets.astype(np.int64)).to(device)
        self.parameters = [
            torch.tensor(array, requires_grad=self.needs_grad, device=device)
            for array in problem.start
        ]
        self.prepare()
        batches = torch.from_numpy(problem.first_batches.astype(np.int64)).to(device)
        self.facts = {"losses": [float(self.step(batch)) for batch in batches]}

    def prepare(self) -> None:
        pass

    def step(self, examples: torch.Tensor) -> torch.Tensor:
        loss = _loss(self.parameters, self.contexts[examples], self.targets[examples])
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.add_(gradient, alpha=-RATE)
        return loss.detach()

    def run(self, count: int) -> None:
        for _ in range(count):
            self.step(torch.randint(0, EXAMPLES, (self.batch,), device=self.device))
        if self.device != "cpu":
            torch.cuda.synchronize()


class TorchCompiled(TorchEager):
    """Look-up of the batch, loss, gradients and update compiled as one; the draw is not."""

    needs_grad = False

    def prepare(self) -> None:
        gradient_and_loss = torch.func.grad_and_value(_loss)

        def step(parameters, contexts, targets, examples):
            gradients, loss = gradient_and_loss(parameters, contexts[examples], targets[examples])
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(RATE * gradient)
            return loss

        self.program = torch.compile(step)

    def step(self, examples: torch.Tensor) -> torch.Tensor:
        return self.program(self.parameters, self.contexts, self.targets, examples)
