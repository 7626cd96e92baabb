"""Operations and their gradients against PyTorch's, in float64."""

import jax
import numpy as np
import pytest

from fanin.autograd import Value

torch = pytest.importorskip("torch", reason="PyTorch is not installed; compared with where it is")
F = torch.nn.functional

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5)) * 3
WEIGHT, BIAS = RNG.normal(size=(5, 4)), RNG.normal(size=4)
GAIN, SHIFT = RNG.normal(size=5), RNG.normal(size=5)
TABLE, INDICES = RNG.normal(size=(7, 2)), RNG.integers(0, 7, (3, 6))
LABELS = RNG.integers(0, 5, 6)

CASES = {
    "tanh": ([X], lambda x: x.tanh(), torch.tanh),
    "relu": ([X], lambda x: x.relu(), F.relu),
    "gelu": ([X], lambda x: x.gelu(), F.gelu),
    "silu": ([X], lambda x: x.silu(), F.silu),
    "sigmoid": ([X], lambda x: x.sigmoid(), torch.sigmoid),
    "selu": ([X], lambda x: x.selu(), F.selu),
    "linear": (
        [X, WEIGHT, BIAS],
        lambda x, w, b: x.matmul_bias(w, b),
        lambda x, w, b: F.linear(x, w.T, b),
    ),
    "batch norm": (
        [X, GAIN, SHIFT],
        lambda x, g, b: x.batch_normalise(g, b),
        lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True),
    ),
    "layer norm": (
        [X, GAIN, SHIFT],
        lambda x, g, b: x.layer_normalise(g, b),
        lambda x, g, b: F.layer_norm(x, (5,), g, b),
    ),
    "embedding": (
        [TABLE],
        lambda t: t.gather(INDICES),
        lambda t: F.embedding(torch.tensor(INDICES), t),
    ),
    "cross entropy": (
        [X],
        lambda x: x.softmax_cross_entropy(LABELS),
        lambda x: F.cross_entropy(x, torch.tensor(LABELS)),
    ),
    "arithmetic": (
        [X, GAIN, SHIFT],
        lambda x, g, b: ((1 - x * g) / (2 + b**2) - x).mean(0),
        lambda x, g, b: ((1 - x * g) / (2 + b**2) - x).mean(0),
    ),
    "network": (
        [TABLE, RNG.normal(size=(6, 5)), GAIN, SHIFT],
        lambda t, w, g, b: (
            t.gather(INDICES.T)
            .reshape(6, -1)
            .matmul_bias(w, b)
            .batch_normalise(g, b)
            .gelu()
            .softmax_cross_entropy(LABELS)
        ),
        lambda t, w, g, b: F.cross_entropy(
            F.gelu(
                F.batch_norm(t[INDICES.T].reshape(6, -1) @ w + b, None, None, g, b, training=True)
            ),
            torch.tensor(LABELS),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_result_and_gradients(name):
    arrays, ours, theirs = CASES[name]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = theirs(*tensors)
    above = np.random.default_rng(1).normal(size=tuple(expected.shape))
    expected.backward(torch.tensor(above))
    with jax.enable_x64(True):
        leaves = [Value(array) for array in arrays]
        node = ours(*leaves).backward(above)
        np.testing.assert_allclose(node.data, expected.detach(), rtol=1e-11, atol=1e-12)
        for leaf, tensor in zip(leaves, tensors, strict=True):
            np.testing.assert_allclose(leaf.grad, tensor.grad, rtol=1e-9, atol=1e-11)
