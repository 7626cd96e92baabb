"""The ways to do a training step that `step` races, PyTorch's apart: all go on from one start.

A contender's `run(count)` does so many steps on batches of its own drawing; `replay(batches)` does
one step for each row of example numbers and gives the losses, which are its facts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.step_problem import EXAMPLES, RATE, Problem, batch_key, network_of

from fanin.autograd import Value
from fanin.training import TrainingOptions
from fanin.training.step import steps_at_once, train_steps


class Compiled:
    """A program that draws its batches itself, from the key and the number of the step."""

    def __init__(self, path: str) -> None:
        self.problem = Problem(path)
        self.at_once = steps_at_once(self.problem.sizes.batch)
        self.data = jnp.asarray(self.problem.contexts), jnp.asarray(self.problem.targets)
        self.key = batch_key()
        self.prepare()
        self.facts = {"losses": self.call(len(self.problem.first_batches)).tolist()}

    def prepare(self) -> None:
        raise NotImplementedError

    def call(self, count: int) -> np.ndarray:
        raise NotImplementedError

    def run(self, count: int) -> None:
        for begin in range(0, count, self.at_once):
            self.call(min(count - begin, self.at_once))


class Fanin(Compiled):
    """The program that `fanin.train` calls, with what it does between two calls."""

    def prepare(self) -> None:
        self.network = network_of(self.problem.sizes)
        self.options = TrainingOptions(batch=self.problem.sizes.batch, lr=RATE, schedule="constant")
        # Rate, steps of the whole run, steps of the warm-up: arrays, as `train` has them.
        self.settings = (
            jnp.float32(self.options.rate),
            jnp.int32(self.options.steps),
            jnp.int32(self.options.warm_up),
        )
        names = [declared.name for declared in self.network.parameters]
        parameters = dict(zip(names, map(jnp.asarray, self.problem.start), strict=True))
        self.state = {
            "step": jnp.int32(0),
            "parameters": parameters,
            "statistics": {},
            "optimiser": self.options.update_rule.transformation().init(parameters),
        }

    def arguments(self, count: int) -> tuple:
        options = self.options
        static = self.network, options.batch, options.schedule, options.update_rule
        return *static, self.state, *self.data, self.key, *self.settings, jnp.int32(count)

    def call(self, count: int) -> np.ndarray:
        self.state, losses, finite = train_steps(*self.arguments(count))
        losses = np.asarray(losses)[:count]
        assert finite
        assert np.isfinite(losses).all()
        return losses


class HandWrittenJax(Compiled):
    """`jax.value_and_grad` of the model written out, in a loop of its own; all batches of a call
    are drawn before it, as that is the faster way."""

    def prepare(self) -> None:
        self.step = 0
        self.parameters = list(map(jnp.asarray, self.problem.start))
        self.program = self._program()

    def _program(self) -> Callable[..., tuple[list[jax.Array], jax.Array]]:
        batch, at_once, key = self.problem.sizes.batch, self.at_once, self.key

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


class ProductsAlone:
    """The six matrix products of a step and nothing else, each operand laid out as it is read."""

    def __init__(self, path: str) -> None:
        sizes = Problem(path).sizes
        n, fan_in, hidden = sizes.batch, sizes.block * sizes.embedding, sizes.hidden
        shapes = (n, fan_in), (fan_in, hidden), (hidden, sizes.vocabulary)
        x, weight, out_weight = (jnp.zeros(shape, jnp.float32) for shape in shapes)
        fixed = weight.T + 0, out_weight, jnp.zeros((sizes.vocabulary, n)), x.T + 0

        def step(_: jax.Array, carry: tuple) -> tuple:
            x, weight, out_weight_across = carry
            weight_across, out_weight, to_logits_across, x_across = fixed
            h = x @ weight
            to_h = (h @ out_weight) @ out_weight_across
            return to_h @ weight_across, x_across @ to_h, to_logits_across @ h

        self.program = jax.jit(lambda carry, count: jax.lax.fori_loop(0, count, step, carry))
        self.carry = x, weight, out_weight.T + 0

    def run(self, count: int) -> None:
        self.carry = jax.block_until_ready(self.program(self.carry, count))


class Stepwise:
    """A step at a time, each called from Python."""

    def __init__(self, path: str) -> None:
        self.problem = Problem(path)
        self.batch, self.random = self.problem.sizes.batch, np.random.default_rng(5)
        self.prepare()
        self.facts = {"losses": [float(self.step(batch)) for batch in self.problem.first_batches]}

    def prepare(self) -> None:
        raise NotImplementedError

    def step(self, examples: np.ndarray) -> float:
        raise NotImplementedError

    def run(self, count: int) -> None:
        for _ in range(count):
            self.step(self.random.integers(0, EXAMPLES, self.batch))


class FaninNotebook(Stepwise):
    """The lesson's loop by hand: build the graph, walk back through it, update, cell by cell."""

    def prepare(self) -> None:
        self.contexts, self.targets = self.problem.contexts, self.problem.targets
        self.parameters = [Value(array) for array in self.problem.start]

    def step(self, examples: np.ndarray) -> float:
        table, weight, bias, out_weight, out_bias = self.parameters
        vectors = table.gather(self.contexts[examples]).reshape(self.batch, -1)
        hidden = vectors.matmul_bias(weight, bias).tanh()
        logits = hidden.matmul_bias(out_weight, out_bias)
        loss = logits.softmax_cross_entropy(self.targets[examples])
        loss.backward()
        for p in self.parameters:
            p.data = p.data - RATE * p.grad
        return loss.data


class NumpyByHand(Stepwise):
    """Forward and backward written out. The gradient of the table is a product with the one-hot
    contexts, which is faster than `np.add.at`."""

    def prepare(self) -> None:
        self.contexts = self.problem.contexts.astype(np.intp)
        self.targets = self.problem.targets.astype(np.intp)
        self.parameters = [array.copy() for array in self.problem.start]
        self.one_hot = np.eye(self.problem.sizes.vocabulary, dtype=np.float32)
        self.rows = np.arange(self.batch)

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


class LargeProduct:
    """A float32 product of 1024, the yardstick: NumPy's or JAX's."""

    size = 1024

    def __init__(self, by: str) -> None:
        a = np.random.default_rng(0).random((self.size, self.size), np.float32)
        on_jax, product = jax.device_put(a), jax.jit(lambda x: x @ x)
        self.product: Callable[[], object] = (
            (lambda: a @ a) if by == "numpy" else (lambda: product(on_jax).block_until_ready())
        )

    def run(self, count: int) -> None:
        for _ in range(count):
            self.product()
