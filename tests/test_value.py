"""`Value`: lazy nodes, forward and backward, eagerly and inside JAX's transformations."""

import copy
import doctest
import pickle
import subprocess
import sys
from importlib.util import find_spec, module_from_spec
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import TraceError, Value, evaluate
from fanin.autograd import trace as trace_module
from fanin.autograd.value import OPERATIONS
from fanin.errors import FaninError, ShapeError

VOCABULARY, BLOCK, EMBEDDING, HIDDEN, BATCH = 27, 3, 10, 200, 32


@pytest.fixture
def own_operations():
    """Forgets the operations that a test registers."""
    before = set(OPERATIONS)
    yield
    for name in set(OPERATIONS) - before:
        delattr(Value, name)
        del OPERATIONS[name]


def start(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "C": (VOCABULARY, EMBEDDING),
        "W1": (BLOCK * EMBEDDING, HIDDEN),
        "b1": (HIDDEN,),
        "W2": (HIDDEN, VOCABULARY),
        "b2": (VOCABULARY,),
    }
    return {name: jnp.asarray(0.3 * rng.normal(size=s), "float32") for name, s in shapes.items()}


def examples(seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, VOCABULARY, (BATCH, BLOCK)), rng.integers(0, VOCABULARY, BATCH)


def loss_of(values, contexts, targets):
    embedded = values["C"].gather(contexts).reshape(lambda shape: (shape[0], -1))
    hidden = embedded.matmul_bias(values["W1"], values["b1"]).tanh()
    return hidden.matmul_bias(values["W2"], values["b2"]).softmax_cross_entropy(targets)


def loss_and_gradient(parameters, contexts, targets):
    values = {name: Value(array, name=name) for name, array in parameters.items()}
    loss = loss_of(values, contexts, targets)
    evaluation = evaluate(loss)
    return evaluation.data[loss], {n: evaluation.gradient[v] for n, v in values.items()}


def loss_by_hand(parameters, contexts, targets):
    embedded = parameters["C"][contexts].reshape(len(contexts), -1)
    hidden = jnp.tanh(embedded @ parameters["W1"] + parameters["b1"])
    logits = hidden @ parameters["W2"] + parameters["b2"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], 1).mean()


# Lazy, then stored


def test_building_computes_nothing(own_operations):
    seen = []

    @Value.operation
    def watched(x):
        seen.append(isinstance(x, jax.core.Tracer))
        return x * 2, lambda above: above * 2

    node = Value([1.0, 2.0]).watched().tanh()
    assert node.data is None
    assert node.parents[0].data is None
    assert (node.shape, node.dtype) == ((2,), jnp.float32)
    assert all(seen), "the rule met numbers while the graph was built"


def test_forward_stores_data_and_no_gradients():
    x = Value([1.0, 2.0])
    double = x + x
    total = double.sum().forward()
    np.testing.assert_array_equal(double.data, [2, 4])
    assert total.data == 6
    assert x.grad is None
    assert total.grad is None


def test_backward_stores_data_and_gradient_of_every_node():
    x, y = Value([1.0, 2.0]), Value([3.0, 5.0])
    product = x * y
    total = product.sum().backward()
    assert total.data == 13
    assert total.grad == 1
    np.testing.assert_array_equal(product.grad, [1, 1])
    np.testing.assert_array_equal(x.grad, [3, 5])
    np.testing.assert_array_equal(y.grad, [1, 2])


def test_a_value_used_twice_gets_both_gradients():
    x = Value(3.0)
    (x * x + x.exp() * 0 + 4 * x).backward()
    assert x.grad == 2 * 3 + 4


def test_backward_twice_does_not_add_up_twice():
    x = Value(3.0)
    loss = x * x
    loss.backward()
    loss.backward()
    assert x.grad == 6


def test_the_gradient_from_above_is_respected():
    x = Value([1.0, 2.0])
    (x * x).backward([10.0, 100.0])
    np.testing.assert_array_equal(x.grad, [20, 400])
    (x * x).sum().backward(3.0)
    np.testing.assert_array_equal(x.grad, [6, 12])
    ((x * x).sum() * 7).backward()
    np.testing.assert_array_equal(x.grad, [14, 28])


def test_a_gradient_from_above_must_have_the_shape_of_the_root():
    with pytest.raises(ShapeError, match=r"tanh has the shape \[2\], and so must .* \[3\]"):
        Value([1.0, 2.0]).tanh().backward(np.ones(3))


def test_a_root_of_many_numbers_needs_a_gradient_from_above():
    with pytest.raises(ValueError, match=r"tanh has the shape \[2\].*sum or mean"):
        Value([1.0, 2.0]).tanh().backward()


def test_whole_numbers_have_no_gradients():
    indices = Value([1, 0], name="indices")
    x = Value([2.0, 3.0])
    (x.gather(indices) * indices).sum().backward()
    assert indices.grad is None
    np.testing.assert_array_equal(x.grad, [0, 1])
    with pytest.raises(TypeError, match=r"sum is of type int32"):
        indices.sum().backward()


def test_a_node_that_the_root_does_not_hang_on_smoothly_has_the_gradient_zero(own_operations):
    @Value.operation
    def detached(x):
        return x, lambda above: None

    x = Value([1.0, 2.0])
    x.detached().sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_assigning_data_and_calling_forward_recomputes():
    x = Value([1.0, 2.0])
    loss = (x * x).sum().forward()
    x.data = [3.0, 4.0]
    assert loss.forward().data == 25
    x.data = np.ones(5)
    assert loss.forward().data == 5


def test_data_that_do_not_fit_any_more_are_an_error_that_names_the_operation():
    x, weight = Value(np.ones((2, 3))), Value(np.ones((3, 4)))
    product = x.matmul(weight)
    x.data = np.ones((2, 5))
    with pytest.raises(ShapeError, match=r"matmul: cannot take .*\[2, 5\] and .*\[3, 4\]"):
        product.forward()


def test_a_computed_value_cannot_be_assigned():
    with pytest.raises(ValueError, match="tanh is computed from weight; assign"):
        Value([1.0], name="weight").tanh().data = [2.0]


def test_a_leaf_without_data_is_named():
    weight = Value(name="weight")
    assert "weight: no data" in repr(weight)
    for use in (weight.tanh, weight.forward, lambda: Value(1.0) + weight, lambda: weight.shape):
        with pytest.raises(ValueError, match=r"weight has no data; assign weight\.data"):
            use()
    weight.data = [0.0]
    assert weight.tanh().forward().data == 0


def test_what_are_no_numbers_is_an_error_that_names_the_value():
    for data in ("text", [[1], [1, 2]], object(), np.array(["a"]), Value(1.0)):
        with pytest.raises(TypeError, match=r"^weight: "):
            Value(data, name="weight")


def test_whole_numbers_are_not_narrowed_in_silence():
    for data in (np.array([0, 2**32]), [2**32]):
        with pytest.raises(TypeError, match="int32"):
            Value(data)
    assert Value(np.array([0, 2**31 - 1])).data[1] == 2**31 - 1


def test_an_array_changed_by_its_owner_changes_no_value():
    data, indices = np.ones(2, np.float32), np.array([0, 1], np.int32)
    leaf = Value(data)
    rows = leaf.gather(indices) + data
    data[:], indices[:] = 7, 5
    np.testing.assert_array_equal(rows.forward().data, [2, 2])


def test_ten_thousand_nodes_in_a_chain():
    # In a process of its own, where no annotations are checked: those cost far more than the walk.
    program = """
from fanin.autograd import Value
x = y = Value(1.0)
for _ in range(10_000):
    y = y * 1.0001
y.backward()
assert abs(y.data - 2.71814) < 1e-3 and abs(x.grad - 2.71814) < 1e-3, (y.data, x.grad)
assert len(str(y.graph()).splitlines()) == 10_002
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# Numbers and operators


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda x: x + 1, [2, 3]),
        (lambda x: 1 + x, [2, 3]),
        (lambda x: 1 - x, [0, -1]),
        (lambda x: x - 1, [0, 1]),
        (lambda x: 2 * x, [2, 4]),
        (lambda x: x / 2, [0.5, 1]),
        (lambda x: 2 / x, [2, 1]),
        (lambda x: -x, [-1, -2]),
        (lambda x: x**2, [1, 4]),
        (lambda x: x**-1, [1, 0.5]),
        (lambda x: x**0.5, [1, 2**0.5]),
        (lambda x: x - [1, 0], [0, 2]),
        (lambda x: [1, 0] - x, [0, -2]),
        (lambda x: x.subtract(1), [0, 1]),
        (lambda x: np.array([1, 2]) - x, [0, 0]),
        (lambda x: np.array([1.0, 2.0]) * x, [1, 4]),
        (lambda x: np.float64(2) / x, [2, 1]),
        (lambda x: jnp.array([1.0, 2.0]) * x, [1, 4]),
        (lambda x: x * jnp.array([True, False]), [1, 0]),
        (lambda x: np.eye(2)[:, ::-1] @ x.reshape(2, 1), [[2], [1]]),
        (lambda x: jnp.eye(2) @ x.reshape(2, 1), [[1], [2]]),
        (lambda x: x.reshape(1, 2) @ x.reshape(2, 1), [[5]]),
        (lambda x: x.reshape(1, 2) @ [[1.0], [1.0]], [[3]]),
    ],
)
def test_operators(build, expected):
    x = Value([1.0, 2.0])
    node = build(x)
    assert isinstance(node, Value)
    assert node.dtype == jnp.float32
    node.sum().backward()
    np.testing.assert_allclose(node.data, expected, rtol=1e-6)
    reference = jax.grad(lambda array: evaluate(build(Value(array)).sum()).data.popitem()[1])
    np.testing.assert_allclose(x.grad, reference(x.data), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_bare_number_takes_the_type_of_the_value_beside_it(dtype):
    x = Value(jnp.ones(3, dtype))
    for node in (x * 2.0, 1 - x, x / 3, x**2, -x, x.mean()):
        node.sum().backward()
        assert node.dtype == node.data.dtype == node.grad.dtype == x.grad.dtype == dtype


def test_types_are_known_before_the_numbers():
    # Without care a scalar's weak type would make the result float16, and the promise float32.
    for scalar in (Value(2.0), Value(jnp.asarray(2.0)), Value(np.float32(2))):
        node = scalar * Value(np.ones(3, np.float16))
        assert node.dtype == jnp.float32
        node.sum().backward()
        assert node.data.dtype == jnp.float32
        assert node.parents[1].grad.dtype == jnp.float16


def test_an_operand_that_is_no_number_is_an_error():
    for operand in (None, "a", object()):
        with pytest.raises(TypeError, match="numbers"):
            Value(1.0) + operand


def test_empty_arrays():
    empty = Value(np.zeros((0, 3)))
    loss = (empty @ np.ones((3, 2))).tanh().sum().backward()
    assert loss.data == 0
    assert empty.grad.shape == (0, 3)
    assert (Value(np.zeros((2, 0))) @ np.ones((0, 2))).sum().backward().data == 0


# Errors of shape


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (lambda a, b: a.matmul(b), ((3, 4), (5, 2))),
        (lambda a, b: a @ b, ((3,), (3, 2))),
        (lambda a, b: a.matmul_bias(b), ((3, 4), (3, 2))),
        (lambda a, b: a.matmul_bias(np.ones((4, 2)), b), ((3, 4), (3,))),
        (lambda a, b: a.add(b), ((3, 4), (3,))),
        (lambda a, b: a.subtract(b), ((2, 3), (3, 3))),
        (lambda a, b: a.multiply(b), ((2, 3), (2,))),
        (lambda a, b: a.divide(b), ((2, 3), (4, 2, 2))),
        (lambda a, b: a.batch_normalise(b, np.ones(3)), ((2, 3), (2,))),
        (lambda a, b: a.layer_normalise(np.ones(3), b), ((2, 3), (1, 3))),
        (lambda a, b: a.softmax_cross_entropy(b.data.astype(int)), ((2, 3), (3,))),
    ],
)
def test_shapes_are_checked_when_the_graph_is_built(build, shapes):
    a, b = (Value(np.zeros(shape)) for shape in shapes)
    with pytest.raises(ShapeError) as caught:
        build(a, b)
    message = str(caught.value)
    assert any(message.startswith(f"{name}: ") for name in OPERATIONS)
    assert all(str(list(shape)) in message for shape in shapes)
    assert isinstance(caught.value, FaninError)


def test_shapes_are_checked_by_the_operations_and_not_by_annotations():
    # The tests' own check of annotations finds these first, so this runs without it.
    program = """
import numpy as np
from fanin.autograd import Value
from fanin.errors import ShapeError
x, one, three = Value(np.zeros((2, 3))), np.ones(1), np.ones(3)
for build, message in (
    (lambda: x @ np.zeros((2, 3)), "matmul: cannot take float32[2, 3] and float32[2, 3]: "),
    (lambda: x @ three, "matmul: cannot take float32[2, 3] and float32[3]: a matrix product"),
    (lambda: x.matmul_bias(np.eye(3), one), "the bias must have the shape [3]"),
    (lambda: x.layer_normalise(three, one), "gain and bias must have the shape [3]"),
    (lambda: Value(one).batch_normalise(three, three), "must have the shape [1]"),
    (lambda: x.softmax_cross_entropy([[0], [0]]), "must have the shape [2]; found [2, 1]"),
):
    try:
        raise SystemExit(f"built {build()}")
    except ShapeError as error:
        assert message in str(error), error
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: x.reshape(4, -1), r"reshape: cannot take float32\[2, 3\].*4"),
        (lambda x: x.sum(2), r"sum: cannot take float32\[2, 3\].*2"),
        (lambda x: x.mean(axis=(0, 0)), r"mean: cannot take float32\[2, 3\]"),
        (lambda x: x.elementwise(jnp.sum), r"elementwise: cannot take float32\[2, 3\].*\[\]"),
    ],
)
def test_settings_that_do_not_fit_are_named(build, message):
    with pytest.raises(ShapeError, match=message):
        build(Value(np.zeros((2, 3))))


def test_arguments_that_an_operation_does_not_take_are_named():
    x = Value(1.0)
    with pytest.raises(TypeError, match=r"tanh: too many positional arguments; it takes \(x\)"):
        x.tanh(2)
    with pytest.raises(TypeError, match=r"sum: .*'axes'; it takes \(x, axis=None, keepdims"):
        x.sum(axes=0)
    with pytest.raises(TypeError, match=r"matmul_bias: .* list, which cannot be hashed"):
        x.reshape(1, 1).matmul_bias([[1.0]])
    with pytest.raises(TypeError, match="power: the exponent must be a bare number; found Value"):
        x**x


# Operations of one's own


def test_the_examples_in_the_docstrings_hold(own_operations):
    found = doctest.testmod(sys.modules["fanin.autograd.value"])
    assert found.attempted > 3
    assert found.failed == 0


def test_a_users_operation_becomes_a_method(own_operations):
    @Value.operation
    def square(x):
        """x times itself."""
        return x * x, lambda above: 2 * x * above

    x = Value([1.0, 3.0])
    x.square().sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 6])
    assert Value.square.__doc__ == "x times itself."
    assert square(2.0)[0] == 4, "the rule itself stays what it was"


@pytest.mark.parametrize("name", ["tanh", "data", "forward", "name", "shape", "__init__"])
def test_a_name_that_is_taken_is_refused(name):
    def rule(x):
        return x, lambda above: above

    rule.__name__ = name
    held = getattr(Value, name)
    with pytest.raises(ValueError, match=f"{name} already; give your operation another name"):
        Value.operation(rule)
    assert getattr(Value, name) is held or getattr(Value, name) == held


def test_a_name_is_taken_by_ones_own_operation_too(own_operations):
    def rule(x):
        return x, lambda above: above

    Value.operation(rule)
    with pytest.raises(ValueError, match=r"say del Value\.rule first"):
        Value.operation(rule)
    del Value.rule
    Value.operation(rule)


def test_a_rule_takes_keywords_and_any_number_of_arrays(own_operations):
    @Value.operation
    def weigh(x, *, by=2.0, shift=0):
        return x * by + shift, lambda above: [above * by]

    @Value.operation
    def join(*arrays):
        cuts = np.cumsum([len(array) for array in arrays])[:-1]
        return jnp.concatenate(arrays), lambda above: list(jnp.split(above, cuts))

    a, b = Value([1.0, 2.0]), Value([3.0])
    node = a.weigh(by=10.0).join(b, a.weigh(), b.weigh(shift=1))
    (node * np.arange(6)).sum().backward()
    np.testing.assert_array_equal(node.data, [10, 20, 3, 2, 4, 7])
    np.testing.assert_array_equal(a.grad, [0 * 10 + 3 * 2, 1 * 10 + 4 * 2])
    np.testing.assert_array_equal(b.grad, [2 + 5 * 2])
    with pytest.raises(TypeError, match=r"join: found Values inside a tuple; give them one by"):
        a.join((b, b))


def test_keywords_may_be_values(own_operations):
    @Value.operation
    def line(x, *, slope, intercept=None):
        y = x * slope if intercept is None else x * slope + intercept
        return y, lambda above: (above * slope, above * x, above)

    x, slope, intercept = Value(2.0), Value(3.0), Value(4.0)
    x.line(intercept=intercept, slope=slope).backward()
    assert (x.grad, slope.grad, intercept.grad) == (3, 2, 1)
    x.line(slope=slope).backward()
    assert (x.grad, slope.grad) == (3, 2)
    with pytest.raises(TypeError, match=r"line: missing a required.*'slope'; it takes \(x, \*"):
        x.line()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: x * 2, r"wrong: a rule returns its result and its pullback.* one array"),
        (lambda x: (x, x), r"wrong: a rule returns its result and its pullback.* tuple"),
        (lambda x: (x, lambda a: (a, a)), r"wrong: .* returned 2 gradients for 1 arg"),
        (lambda x: (x, lambda a: a[0]), r"wrong: .* shape \[3\] for an argument .*\[2, 3\]"),
    ],
)
def test_a_rule_that_returns_something_else_is_named(returned, message, own_operations):
    def wrong(x):
        return returned(x)

    Value.operation(wrong)
    with pytest.raises((TypeError, ShapeError), match=message):
        Value(np.ones((2, 3))).wrong().sum().backward()


def test_rules_that_cannot_be_methods_are_refused():
    with pytest.raises(ValueError, match="needs a name to be called by; found <lambda>"):
        Value.operation(lambda x: (x, lambda above: above))

    def open_ended(x, **settings):
        return x, lambda above: above

    with pytest.raises(TypeError, match="open_ended: name each setting"):
        Value.operation(open_ended)
    assert not hasattr(Value, "open_ended")


# Eager and compiled


def test_the_same_loss_and_gradients_as_by_hand_to_an_ulp_or_so():
    contexts, targets = examples()
    parameters = start()
    loss, gradient = jax.jit(loss_and_gradient)(parameters, contexts, targets)
    by_hand = jax.jit(jax.value_and_grad(loss_by_hand))
    hand_loss, hand_gradient = by_hand(parameters, contexts, targets)
    with jax.enable_x64(True):
        wide = {name: jnp.asarray(np.float64(array)) for name, array in parameters.items()}
        _, exact = by_hand(wide, contexts, targets)
    assert abs(loss - hand_loss) <= np.spacing(hand_loss)
    for name in parameters:
        ulp = np.spacing(np.abs(hand_gradient[name]).max())
        assert np.abs(gradient[name] - hand_gradient[name]).max() <= 3 * ulp
        # Neither is nearer to the truth than the other.
        off, hand_off = (
            np.abs(np.float64(found[name]) - np.asarray(exact[name])).max()
            for found in (gradient, hand_gradient)
        )
        assert off <= 1.5 * hand_off + ulp


def test_eager_and_compiled_give_the_same():
    contexts, targets = examples()
    values = {name: Value(array) for name, array in start().items()}
    loss = loss_of(values, contexts, targets).backward()
    inside, gradient = jax.jit(loss_and_gradient)(start(), contexts, targets)
    assert loss.data == inside
    for name, value in values.items():
        np.testing.assert_array_equal(value.grad, gradient[name])


def test_a_long_graph_is_walked_with_the_same_result(monkeypatch):
    contexts, targets = examples()
    compiled_loss, compiled = loss_and_gradient(start(), contexts, targets)
    # The package's attribute of that name is the function.
    monkeypatch.setattr(sys.modules["fanin.autograd.evaluate"], "LONGEST_COMPILED", 0)
    loss, gradient = loss_and_gradient(start(), contexts, targets)
    np.testing.assert_allclose(loss, compiled_loss, rtol=1e-6)
    for name in compiled:
        np.testing.assert_allclose(gradient[name], compiled[name], rtol=1e-4, atol=1e-7)


def test_a_loop_that_builds_its_graph_anew_compiles_once(own_operations):
    traced = []

    @Value.operation
    def watched(x):
        traced.append(x)
        return x * x, lambda above: 2 * x * above

    w = Value([1.0, 2.0, 3.0])
    losses, counts = [], []
    for step in range(5):
        loss = (w.watched() * (step + 1.5)).sum()
        loss.forward()
        loss.backward()
        w.data = w.data - 0.01 * w.grad
        losses.append(float(loss.data))
        counts.append(len(traced))
    assert counts == [counts[0]] * 5
    assert all(later != earlier for earlier, later in pairwise(losses))


def test_inside_jit_a_graph_stores_too():
    @jax.jit
    def slope(array):
        x = Value(array)
        loss = (x * x).sum()
        assert loss.forward().data is not None
        loss.backward()
        return x.grad

    with jax.checking_leaks():
        np.testing.assert_array_equal(slope(jnp.array([1.0, 2.0])), [2, 4])


def test_inside_vmap_each_example_has_its_own_gradient():
    def gradient(array):
        x = Value(array)
        (x * x).tanh().sum().backward()
        return x.grad

    rows = jnp.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    one_by_one = [gradient(row) for row in rows]
    with jax.checking_leaks():
        for mapped in (jax.vmap(gradient), jax.jit(jax.vmap(gradient))):
            np.testing.assert_allclose(mapped(rows), one_by_one, rtol=1e-6)


def test_inside_scan_a_run_is_that_of_a_loop():
    contexts, targets = examples()

    def step(parameters, _):
        loss, gradient = loss_and_gradient(parameters, contexts, targets)
        return {n: array - 0.1 * gradient[n] for n, array in parameters.items()}, loss

    with jax.checking_leaks():
        _, scanned = jax.lax.scan(step, start(), length=5)
    values = {name: Value(array, name=name) for name, array in start().items()}
    losses = []
    for _ in range(5):
        loss = loss_of(values, contexts, targets).backward()
        losses.append(loss.data)
        for value in values.values():
            value.data = value.data - 0.1 * value.grad
    np.testing.assert_allclose(scanned, losses, rtol=1e-5)
    assert losses[-1] < losses[0]


def test_evaluate_stores_nothing_and_reads_values_of_any_trace():
    weight = Value([1.0, 2.0], name="weight")

    @jax.jit
    def both(array):
        x = Value(array)
        loss = (x * weight).sum()
        evaluation = evaluate(loss)
        assert loss.data is None
        assert x.grad is None
        return evaluation.gradient[x], evaluation.gradient[weight]

    with jax.checking_leaks():
        for_x, for_weight = both(jnp.array([5.0, 6.0]))
    np.testing.assert_array_equal(for_x, [1, 2])
    np.testing.assert_array_equal(for_weight, [5, 6])
    assert weight.grad is None


def test_evaluate_keeps_what_is_asked_for_and_no_more():
    weight, index = Value([1.0, 2.0], name="weight"), Value(jnp.int32([1, 1, 0]), name="index")
    row = weight.gather(index)
    curved = row.tanh()
    loss = (curved * row).sum()
    whole = evaluate(loss)
    some = evaluate(loss, data=[curved, weight], gradients=[weight, row])
    assert curved in some.data
    assert {curved, weight} <= some.data.keys() < whole.data.keys()
    assert some.gradient.keys() == {weight, row}
    for node in some.data:
        np.testing.assert_array_equal(some.data[node], whole.data[node])
    for node, gradient in some.gradient.items():
        np.testing.assert_allclose(gradient, whole.gradient[node], rtol=1e-6)
    assert evaluate(loss, data=[curved], gradients=False).gradient == {}
    with pytest.raises(ValueError, match="tanh is not below gather"):
        evaluate(row, data=[curved], gradients=False)
    index.data = jnp.int32([7, 0, 0])
    with pytest.raises(FaninError, match="7"):  # also where what is checked is not asked for
        evaluate(loss, data=[], gradients=False)


def test_jax_differentiates_the_walk():
    def loss(array):
        root = (Value(array) ** 3).sum()
        return evaluate(root).data[root]

    def slope(array):
        x = Value(array)
        return evaluate((x**3).sum()).gradient[x].sum()

    x = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(jax.grad(loss)(x), [3, 12], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(slope)(x), [6, 12], rtol=1e-6)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
def test_storing_into_a_node_of_another_trace_names_the_node(transform):
    weight = Value(1.0, name="weight")

    def stores_gradient(array):
        return (weight * array).sum().backward().data

    def assigns(array):
        weight.data = array
        return array

    def stores_data(array, node=weight.tanh()):  # noqa: B008
        node.name = "outer node"
        return (node * array).forward().data

    argument = jnp.ones(2) if transform is jax.vmap else 1.0
    for function, name in ((stores_gradient, "weight"), (assigns, "weight")):
        with pytest.raises(TraceError, match=f"the value {name} was made in another JAX trace"):
            transform(function)(argument)
    with pytest.raises(TraceError, match="the value outer node was made in another JAX trace"):
        transform(stores_data)(argument)
    assert weight.data == 1
    assert weight.grad is None


def test_a_tracer_left_over_is_an_error_that_names_the_value():
    kept, table = [], Value([1.0])

    @jax.jit
    def keep(array):
        kept.extend([Value(array, name="kept"), table.gather(jnp.int32(array))])
        return array

    keep(0.0)
    for root, name in ((kept[0].tanh(), "kept"), (kept[1], "gather")):
        with pytest.raises(
            TraceError, match=f"{name} was made inside a JAX transformation that is"
        ):
            evaluate(root)


def test_the_top_is_known_to_a_module_first_imported_while_tracing():
    found = []

    def importing(x):
        spec = find_spec("fanin.autograd.trace")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(module.AT_TOP == trace_module.AT_TOP)
        found.append(trace_module.current_trace() == trace_module.AT_TOP)
        return x

    jax.jit(importing)(1.0)
    assert found == [True, False]
    assert trace_module.current_trace() == trace_module.AT_TOP


def test_a_pullback_that_forgets_an_argument_is_told(own_operations):
    @Value.operation
    def half_a_product(a, b):
        return a * b, lambda above: (above * b,)

    node = Value(2.0).half_a_product(Value(3.0))
    with pytest.raises(ShapeError, match=r"half_a_product: .* 1 gradients for 2 arguments"):
        node.backward()


def test_a_keyword_is_no_name_of_an_operation():
    def rule(x):
        return x, lambda above: above

    rule.__name__ = "class"
    with pytest.raises(ValueError, match="needs a name to be called by; found class"):
        Value.operation(rule)


@pytest.mark.parametrize("use", [copy.deepcopy, pickle.dumps, np.asarray])
def test_a_value_is_no_array_and_no_copy(use):
    with pytest.raises(TypeError, match=r"weight is .* \.data"):
        use(Value([1.0], name="weight"))
