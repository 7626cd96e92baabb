"""The ways to do a training step that `step_time` races: each goes on from the same start.

A contender's `train(count)` does so many steps on batches of its own drawing; `replay(batches)`
does one step for each row of example numbers and gives the losses.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.step_problem import EXAMPLES, RATE, VOCABULARY, Problem

from fanin.autograd import Value
from fanin.training import TrainingOptions
from fanin.training.step import train_steps


class Contender(Protocol):
    def train(self, count: int) -> None: ...
    def replay(self, batches: np.ndarray) -> list[float]: ...


class Compiled:
    """A program that draws its batches itself, from the key and the number of the step."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.data = jnp.asarray(problem.contexts), jnp.asarray(problem.targets)
        self.step = 0

    def call(self, count: int) -> np.ndarray:
        raise NotImplementedError

    def train(self, count: int) -> None:
        for begin in range(0, count, self.problem.at_once):
            self.call(min(count - begin, self.problem.at_once))

    def replay(self, batches: np.ndarray) -> list[float]:
        return self.call(len(batches)).tolist()


class Fanin(Compiled):
    """The program that `fanin.train` calls, with what it does between two calls."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.options = TrainingOptions(batch=problem.sizes.batch, lr=RATE, schedule="constant")
        # Rate, steps of the whole run, steps of the warm-up: arrays, as `train` has them.
        self.settings = (
            jnp.float32(self.options.rate),
            jnp.int32(self.options.steps),
            jnp.int32(self.options.warm_up),
        )
        self.state = {
            "step": jnp.int32(0),
            "parameters": problem.parameters,
            "statistics": {},
            "optimiser": self.options.update_rule.transformation().init(problem.parameters),
        }

    def call(self, count: int) -> np.ndarray:
        options = self.options
        self.state, losses, finite = train_steps(
            self.problem.network,
            options.batch,
            options.schedule,
            options.update_rule,
            self.state,
            *self.data,
            self.problem.key,
            *self.settings,
            jnp.int32(count),
        )
        losses = np.asarray(losses)[:count]
        assert finite
        assert np.isfinite(losses).all()
        return losses


class HandWrittenJax(Compiled):
    """`jax.value_and_grad` of the model written out, in a loop of its own; all batches of a call
    are drawn before it, as that is the faster way."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.parameters = list(map(jnp.asarray, problem.start))
        self.program = self._program()

    def _program(self) -> Callable[..., tuple[list[jax.Array], jax.Array]]:
        batch, at_once, key = self.problem.sizes.batch, self.problem.at_once, self.problem.key

        def loss_of(parameters: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
            table, weight, bias, out_weight, out_bias = parameters
            hidden = jnp.tanh(table[x].reshape(batch, -1) @ weight + bias)
            log_probabilities = jax.nn.log_softmax(hidden @ out_weight + out_bias)
            return -jnp.take_along_axis(log_probabilities, y[:, None], 1).mean()

        def program(
            parameters: list[jax.Array], x: jax.Array, y: jax.Array, first: int, count: int
        ) -> tuple[list[jax.Array], jax.Array]:
            def draw(t: jax.Array) -> jax.Array:
                return jax.random.randint(jax.random.fold_in(key, t), (batch,), 0, EXAMPLES)

            drawn = jax.vmap(draw)(first + jnp.arange(at_once))
            xs, ys = x[drawn].astype(jnp.int32), y[drawn].astype(jnp.int32)

            def step(index: jax.Array, carry: tuple) -> tuple:
                parameters, losses = carry
                loss, gradients = jax.value_and_grad(loss_of)(parameters, xs[index], ys[index])
                parameters = [p - RATE * g for p, g in zip(parameters, gradients, strict=True)]
                return parameters, losses.at[index].set(loss)

            return jax.lax.fori_loop(0, count, step, (parameters, jnp.zeros(at_once)))

        return jax.jit(program)

    def call(self, count: int) -> np.ndarray:
        self.parameters, losses = self.program(self.parameters, *self.data, self.step, count)
        self.step += count
        return np.asarray(losses)[:count]


class Stepwise:
    """A step at a time, each called from Python."""

    def step(self, examples: np.ndarray) -> float:
        raise NotImplementedError

    def draw(self) -> np.ndarray:
        raise NotImplementedError

    def train(self, count: int) -> None:
        for _ in range(count):
            self.step(self.draw())

    def replay(self, batches: np.ndarray) -> list[float]:
        return [float(self.step(batch)) for batch in batches]


class FaninNotebook(Stepwise):
    """The lesson's loop: build the graph, forward, backward, update, cell by cell."""

    def __init__(self, problem: Problem) -> None:
        self.contexts, self.targets = problem.contexts, problem.targets
        self.parameters = [Value(array) for array in problem.start]
        self.batch, self.random = problem.sizes.batch, np.random.default_rng(5)

    def draw(self) -> np.ndarray:
        return self.random.integers(0, EXAMPLES, self.batch)

    def step(self, examples: np.ndarray) -> float:
        table, weight, bias, out_weight, out_bias = self.parameters
        vectors = table.gather(self.contexts[examples]).reshape(self.batch, -1)
        hidden = vectors.matmul_bias(weight, bias).tanh()
        logits = hidden.matmul_bias(out_weight, out_bias)
        loss = logits.softmax_cross_entropy(self.targets[examples])
        loss.forward()
        loss.backward()
        for p in self.parameters:
            p.data = p.data - RATE * p.grad
        return loss.data


class NumpyByHand(Stepwise):
    """Forward and backward written out. The gradient of the table is a product with the one-hot
    contexts, which is faster than `np.add.at`."""

    def __init__(self, problem: Problem) -> None:
        self.contexts = problem.contexts.astype(np.intp)
        self.targets = problem.targets.astype(np.intp)
        self.parameters = [array.copy() for array in problem.start]
        self.batch, self.random = problem.sizes.batch, np.random.default_rng(5)
        self.one_hot, self.rows = np.eye(VOCABULARY, dtype=np.float32), np.arange(self.batch)

    def draw(self) -> np.ndarray:
        return self.random.integers(0, EXAMPLES, self.batch)

    def step(self, examples: np.ndarray) -> float:
        table, weight, bias, out_weight, out_bias = self.parameters
        x, y = self.contexts[examples], self.targets[examples]
        vectors = table[x].reshape(self.batch, -1)
        hidden = np.tanh(vectors @ weight + bias)
        logits = hidden @ out_weight + out_bias
        logits -= logits.max(1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(1, keepdims=True)
        loss = (np.log(sums[:, 0]) - logits[self.rows, y]).mean()

        to_logits = powers / sums
        to_logits[self.rows, y] -= 1
        to_logits /= self.batch
        to_hidden = (to_logits @ out_weight.T) * (1 - hidden * hidden)
        to_vectors = (to_hidden @ weight.T).reshape(-1, table.shape[1])
        gradients = (
            self.one_hot[x.reshape(-1)].T @ to_vectors,
            vectors.T @ to_hidden,
            to_hidden.sum(0),
            hidden.T @ to_logits,
            to_logits.sum(0),
        )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter -= np.float32(RATE) * gradient
        return loss


def warm_up(contender: Contender) -> float:
    """Run until everything is compiled and loaded; returns the seconds of a step, roughly."""
    contender.train(3)
    count = 1
    while True:
        began = time.process_time()
        contender.train(count)
        seconds = time.process_time() - began
        if seconds > 0.05:
            return seconds / count
        count *= 2


def largest_difference(losses: Sequence[float], others: Iterable[float]) -> float:
    return max(abs(a - b) for a, b in zip(losses, others, strict=True))
