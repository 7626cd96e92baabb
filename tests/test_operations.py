"""Every registered operation: its result and gradient, held against `jax.grad` and differences."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from fanin.autograd import Value, evaluate
from fanin.autograd.value import OPERATIONS
from fanin.errors import ShapeError

EXAMPLES = 6
DIFFERENCE = 1e-6

# Compiling is what these tests wait for: a quarter of it will do for programs that run once.
QUICK_TO_COMPILE: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 12):  # later ones have no other emitters
    QUICK_TO_COMPILE["xla_cpu_use_fusion_emitters"] = False


class Call(NamedTuple):
    """What an operation is called with: arrays (of floats: the first so many), then settings."""

    arrays: tuple[np.ndarray, ...]
    settings: tuple[Any, ...] = ()
    named: Any = MappingProxyType({})


class Case(NamedTuple):
    """Random calls of an operation, and the same function written for JAX to differentiate."""

    calls: st.SearchStrategy[Call]
    reference: Callable[..., jax.Array]


sizes = st.integers(1, 4)
shapes = st.lists(sizes, max_size=3).map(tuple)


def numbers(draw, shape, low=-2.0, high=2.0):
    """Random numbers, none nearer to 0 than 0.01: there relu and selu have no derivative."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = rng.uniform(low, high, shape)
    return np.where(np.abs(array) < 0.01, 0.01, array)


@st.composite
def one_array(draw, low=-2.0, high=2.0):
    return Call((numbers(draw, draw(shapes), low, high),))


@st.composite
def two_operands(draw, low=-2.0):
    found = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4))
    first, second = found.input_shapes
    return Call((numbers(draw, first), numbers(draw, second, low)))


@st.composite
def powers(draw):
    exponent = draw(st.sampled_from([-2, -1, 0, 1, 2, 3, 0.5, -1.5, 2.0]))
    return Call((numbers(draw, draw(shapes), 0.3),), (exponent,))


@st.composite
def products(draw):
    rows, inner, columns = draw(sizes), draw(sizes), draw(sizes)
    found = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3))
    first, second = found.input_shapes
    # Half of the products are with one plain matrix, which has a way of its own back.
    second = () if draw(st.booleans()) else second
    return Call(
        (numbers(draw, (*first, rows, inner)), numbers(draw, (*second, inner, columns))),
    )


@st.composite
def linear_layers(draw):
    before, inner, columns = draw(st.lists(sizes, min_size=1, max_size=3)), draw(sizes), draw(sizes)
    arrays = numbers(draw, (*before, inner)), numbers(draw, (inner, columns))
    return Call((*arrays, numbers(draw, (columns,))) if draw(st.booleans()) else arrays)


@st.composite
def reshapes(draw):
    shape = draw(shapes)
    target = list(draw(st.permutations(shape)))
    if target and draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    setting = draw(st.sampled_from([tuple(target), lambda _: tuple(target)]))
    return Call((numbers(draw, shape),), (setting,))


@st.composite
def reductions(draw):
    shape = draw(shapes)
    axes = st.integers(-len(shape), len(shape) - 1) if shape else st.none()
    many = st.sets(st.integers(0, len(shape) - 1)).map(tuple) if shape else st.none()
    named = {"axis": draw(st.one_of(st.none(), axes, many)), "keepdims": draw(st.booleans())}
    return Call((numbers(draw, shape),), (), named)


@st.composite
def look_ups(draw):
    rows, rest = draw(sizes), draw(st.lists(sizes, max_size=2))
    taken = draw(st.lists(sizes, max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(["uint8", "int16", "int32", "int64"]))
    # More draws than rows: some are taken several times.
    return Call((numbers(draw, (rows, *rest)), rng.integers(0, rows, taken).astype(dtype)))


@st.composite
def classifications(draw):
    before, classes = draw(st.lists(sizes, max_size=2)), draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = numbers(draw, (*before, classes), -5, 5)
    return Call((logits, rng.integers(0, classes, before).astype("uint8")))


@st.composite
def normalisations(draw):
    before, units = draw(st.lists(st.integers(2, 4), min_size=1, max_size=2)), draw(sizes) + 1
    arrays = (numbers(draw, s) for s in ((*before, units), (units,), (units,)))
    return Call(tuple(arrays), (draw(st.sampled_from([1e-5, 0.1])),))


def cross_entropy(logits, labels):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None].astype(int), -1)
    return -chosen.mean()


def normalised(axes_of):
    def reference(x, gain, bias, epsilon):
        axes = axes_of(x)
        spread = jnp.sqrt(jnp.var(x, axes, keepdims=True) + epsilon)
        return (x - jnp.mean(x, axes, keepdims=True)) / spread * gain + bias

    return reference


CASES = {
    "add": Case(two_operands(), jnp.add),
    "subtract": Case(two_operands(), jnp.subtract),
    "multiply": Case(two_operands(), jnp.multiply),
    "divide": Case(two_operands(0.5), jnp.divide),
    "power": Case(powers(), lambda x, exponent: x**exponent),
    "matmul": Case(products(), jnp.matmul),
    "matmul_bias": Case(linear_layers(), lambda x, w, b=0: x @ w + b),
    "reshape": Case(
        reshapes(), lambda x, shape: x.reshape(shape(x.shape) if callable(shape) else shape)
    ),
    "sum": Case(reductions(), jnp.sum),
    "mean": Case(reductions(), jnp.mean),
    "exp": Case(one_array(), jnp.exp),
    "log": Case(one_array(0.3, 3), jnp.log),
    "elementwise": Case(
        one_array().map(lambda call: call._replace(settings=(jnp.sin,))), lambda x, f: f(x)
    ),
    "identity": Case(one_array(), lambda x: x),
    "tanh": Case(one_array(), jnp.tanh),
    "relu": Case(one_array(), jax.nn.relu),
    "gelu": Case(one_array(-6, 6), lambda x: jax.nn.gelu(x, approximate=False)),
    "silu": Case(one_array(-6, 6), jax.nn.silu),
    "sigmoid": Case(one_array(-6, 6), jax.nn.sigmoid),
    "selu": Case(one_array(), jax.nn.selu),
    "gather": Case(look_ups(), lambda table, indices: table[indices]),
    "softmax_cross_entropy": Case(classifications(), cross_entropy),
    "batch_normalise": Case(normalisations(), normalised(lambda x: tuple(range(x.ndim - 1)))),
    "layer_normalise": Case(normalisations(), normalised(lambda x: -1)),
}


def test_every_operation_of_the_package_is_in_the_table():
    ours = {n for n, o in OPERATIONS.items() if o.rule.__module__.startswith("fanin.")}
    assert ours == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    @settings(max_examples=EXAMPLES)
    @given(CASES[name].calls, st.integers(0, 2**32 - 1))
    def check(call, seed):
        with jax.enable_x64(True):
            hold_against_jax_and_differences(name, call, np.random.default_rng(seed))

    check()


def hold_against_jax_and_differences(name, call, rng):
    count = sum(array.dtype.kind == "f" for array in call.arrays)
    fixed = call.arrays[count:]

    def build(floats):
        leaves = [Value(array) for array in (*floats, *fixed)]
        return leaves, getattr(leaves[0], name)(*leaves[1:], *call.settings, **call.named)

    def result_of(floats):
        return CASES[name].reference(*floats, *fixed, *call.settings, **call.named)

    @partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def everything(floats, above, along):
        leaves, node = build(floats)
        evaluation = evaluate(node, upstream=above)
        found = evaluation.data[node], [evaluation.gradient[leaf] for leaf in leaves]
        result, pullback = jax.vjp(result_of, floats)
        ends = []
        for side in (1, -1):
            moved = [a + side * DIFFERENCE * d for a, d in zip(floats, along, strict=True)]
            end = build(moved)[1]
            ends.append((evaluate(end, gradients=False).data[end] * above).sum())
        return found, (result, *pullback(above)), (ends[0] - ends[1]) / (2 * DIFFERENCE)

    floats = list(call.arrays[:count])
    along = [rng.normal(size=array.shape) for array in floats]
    node = build(floats)[1]
    above = rng.normal(size=node.shape)
    (data, gradients), (result, expected), difference = everything(floats, above, along)

    assert node.shape == data.shape == result.shape
    assert node.dtype == data.dtype == result.dtype == jnp.float64
    np.testing.assert_allclose(data, result, rtol=1e-12, atol=1e-12)
    assert gradients[count:] == [None] * len(fixed)
    for gradient, its_expected in zip(gradients[:count], expected, strict=True):
        np.testing.assert_allclose(gradient, its_expected, rtol=1e-10, atol=1e-12)
    # Along a random direction in the space of all arguments.
    slope = sum((np.asarray(g) * d).sum() for g, d in zip(gradients[:count], along, strict=True))
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "silu", "sigmoid", "selu"])
def test_activations_keep_their_precision_and_stay_finite_far_out(name):
    largest = np.float32(3e38)
    x = np.array([-largest, -1e4, -87.0, -20.0, -10.0, -1e-8, 0.0, 1e-8, 10.0, 1e4, largest])
    leaf = Value(x)
    node = getattr(leaf, name)()
    node.sum().backward()
    assert np.isfinite(node.data).all()
    assert np.isfinite(leaf.grad).all()
    with jax.enable_x64(True):
        exact, slope = (
            np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(np.float64(np.float32(x)))))
            for f in (CASES[name].reference, jax.grad(CASES[name].reference))
        )
    # Near 0 relu's slope is a convention, checked below.
    kept = np.abs(x) > 0
    np.testing.assert_allclose(node.data, exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(leaf.grad[kept], slope[kept], rtol=1e-5, atol=1e-6)


def test_the_tail_of_the_sigmoid_is_no_step():
    x = Value([-80.0, -20.0, -5.0])
    np.testing.assert_allclose(x.sigmoid().forward().data, np.exp(x.data), rtol=1e-2)


def test_the_slope_of_relu_at_zero_is_zero():
    x = Value([0.0])
    x.relu().backward([1.0])
    assert x.grad == 0


def test_a_power_of_zero_is_constant_at_zero_too():
    x = Value([0.0, 2.0])
    (x**0).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_a_size_of_minus_one_follows_the_data():
    x = Value(np.arange(6.0))
    flat = x.reshape(-1, 2).forward()
    assert flat.data.shape == (3, 2)
    x.data = np.arange(10.0)
    assert flat.forward().data.shape == (5, 2)


def test_a_shape_may_be_a_function_a_tuple_or_sizes():
    x = Value(np.zeros((2, 3, 4)))
    for node in (
        x.reshape(lambda shape: (shape[0], -1)),
        x.reshape((2, 12)),
        x.reshape([2, np.int64(12)]),
        x.reshape(2, 12),
    ):
        assert node.shape == (2, 12)
    assert x.reshape(-1).shape == (24,)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_sums_and_means_of_nothing(shape):
    x = Value(np.zeros(shape))
    for node in (x.sum(), x.sum(0), x.mean(-1, keepdims=True), x.tanh().sum(), (x + 1).sum()):
        node.backward(1.0)
        assert x.grad.shape == shape


def test_half_precision_in_half_precision_out():
    rng = np.random.default_rng(0)
    for dtype, tolerance in ((jnp.float16, 4e-3), (jnp.bfloat16, 3e-2)):
        leaves = [Value(jnp.asarray(rng.normal(size=s), dtype)) for s in ((5, 4), (4, 3), (3,))]
        narrow = leaves[0].matmul_bias(*leaves[1:]).gelu().softmax_cross_entropy([0, 1, 2, 0, 1])
        narrow.backward()
        wide_leaves = [Value(leaf.data.astype(jnp.float32)) for leaf in leaves]
        wide = wide_leaves[0].matmul_bias(*wide_leaves[1:]).gelu()
        wide.softmax_cross_entropy([0, 1, 2, 0, 1]).backward()
        for leaf, expected in zip(leaves, wide_leaves, strict=True):
            assert leaf.grad.dtype == dtype
            np.testing.assert_allclose(
                np.float32(leaf.grad), expected.grad, rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize(
    "sizes", [(0, -1), (2.0, 3), ("x",), (lambda shape: 1.5,), (lambda shape: "6",), (-1, -1)]
)
def test_shapes_that_cannot_be_are_named(sizes):
    with pytest.raises(ShapeError, match=r"^reshape: cannot take .*\[2, 3\]"):
        Value(np.zeros((2, 3), np.float32)).reshape(*sizes)
