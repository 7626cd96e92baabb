"""Look-ups and the loss: indices in range, no overflow for any finite logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.autograd import IndexRangeError, Value
from fanin.errors import FaninError

TABLE = Value(np.arange(12.0).reshape(4, 3), name="table")
LOGITS = Value(np.zeros((2, 27)), name="logits")


@pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
def test_gather_takes_rows_of_tables_of_any_rank(rest):
    table = Value(np.arange(4.0 * np.prod(rest)).reshape(4, *rest))
    indices = np.array([[3, 0, 3], [1, 3, 0]], np.uint8)
    rows = table.gather(indices)
    assert rows.shape == (2, 3, *rest)
    rows.backward(np.ones(rows.shape))
    np.testing.assert_array_equal(rows.data, table.data[indices])
    times_taken = np.array([2, 1, 0, 3]).reshape(4, *(1 for _ in rest))
    np.testing.assert_array_equal(table.grad, np.broadcast_to(times_taken, table.shape))


@pytest.mark.parametrize("as_indices", [np.array, list, tuple, jnp.array, Value])
@pytest.mark.parametrize("index", [4, 99, -1])
def test_an_index_out_of_range_is_named_with_the_range(as_indices, index):
    with pytest.raises(IndexRangeError, match=f"^gather: the index {index} is outside 0 to 3$"):
        TABLE.gather(as_indices([0, index, 2]))
    with pytest.raises(IndexRangeError, match="softmax_cross_entropy: the index 27 is outside 0"):
        LOGITS.softmax_cross_entropy(as_indices([26, 27]))
    assert issubclass(IndexRangeError, FaninError)


def test_the_label_99_has_no_loss():
    # JAX alone would clamp it, and with uniform logits show log 27, as good as perfect.
    with pytest.raises(IndexRangeError, match="the index 99 is outside 0 to 26"):
        LOGITS.softmax_cross_entropy([0, 99])


def test_an_index_too_wide_for_jax_is_out_of_range():
    # JAX would keep its lowest 32 bits: row 0.
    with pytest.raises(IndexRangeError, match="the index 4294967296 is outside 0 to 3"):
        TABLE.gather(np.array([2**32]))


def test_indices_assigned_since_are_checked_again():
    indices = Value([0, 1], name="indices")
    direct, computed = TABLE.gather(indices).sum(), TABLE.gather(indices.reshape(2, 1)).sum()
    loss = LOGITS.softmax_cross_entropy(indices)
    for root in (direct, computed, loss):
        root.forward()
    indices.data = jnp.array([0, 27])
    for root in (direct, computed):
        with pytest.raises(IndexRangeError, match="gather: the index 27 is outside 0 to 3"):
            root.forward()
        with pytest.raises(IndexRangeError, match="gather: the index 27 is outside 0 to 3"):
            root.backward()
    with pytest.raises(IndexRangeError, match="entropy: the index 27 is outside 0 to 26"):
        loss.forward()
    indices.data = jnp.array([3, 3])
    assert direct.forward().data == 2 * (9 + 10 + 11)


def test_a_smaller_table_assigned_since_is_noticed():
    table, indices = Value(np.zeros((4, 2))), Value([3])
    rows = table.gather(indices)
    table.data = np.zeros((3, 2))
    with pytest.raises(IndexRangeError, match="the index 3 is outside 0 to 2"):
        rows.forward()


@pytest.mark.parametrize("indices", [[0.0], np.array([True]), np.float32(1)])
def test_indices_are_whole_numbers(indices):
    with pytest.raises(TypeError, match="gather: indices must be whole numbers; found"):
        TABLE.gather(indices)


def test_a_single_number_has_no_rows_and_no_classes():
    with pytest.raises(FaninError, match="gather: the table must have rows"):
        Value(1.0).gather(0)
    with pytest.raises(FaninError, match="softmax_cross_entropy: the logits must be vectors"):
        Value(1.0).softmax_cross_entropy(0)


def test_indices_of_one_number_and_of_none():
    assert TABLE.gather(2).forward().data.tolist() == [6, 7, 8]
    assert TABLE.gather(np.zeros((0, 2), int)).forward().data.shape == (0, 2, 3)


def test_traced_indices_pass_unchecked():
    def loss(indices):
        return TABLE.gather(indices).sum().forward().data

    assert jax.jit(loss)(jnp.array([1, 1])) == 2 * (3 + 4 + 5)


def test_uniform_logits_cost_the_logarithm_of_the_classes():
    assert LOGITS.softmax_cross_entropy([0, 26]).forward().data == np.log(np.float32(27))


def test_the_loss_is_a_mean_over_all_examples():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 4, 5)), rng.integers(0, 5, (3, 4))
    each = [
        Value(z).softmax_cross_entropy(y).forward().data
        for z, y in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(
        Value(logits).softmax_cross_entropy(labels).forward().data, np.mean(each), rtol=1e-6
    )


@pytest.mark.parametrize("largest", [1e4, 3e38])
def test_loss_and_gradient_are_finite_for_any_finite_logits(largest):
    logits = Value([[largest, -largest, 0.0], [-largest, 0.0, largest], [largest] * 3])
    for labels in ([0, 2, 1], [1, 0, 1], [2, 1, 0]):
        loss = logits.softmax_cross_entropy(labels)
        (loss * 0.5).backward()
        assert np.isfinite(loss.data)
        assert np.isfinite(logits.grad).all()
        np.testing.assert_allclose(logits.grad.sum(-1), 0, atol=1e-7)
    # Certain and right in two of three examples, and even between three classes in the third.
    loss = logits.softmax_cross_entropy([0, 2, 1]).forward()
    np.testing.assert_allclose(loss.data, np.log(3) / 3, rtol=1e-6)


def test_a_confident_mistake_costs_the_distance_of_the_logits():
    # log(softmax(z)) would be log 0: the smaller class is e⁻²⁰⁰ likely.
    logits = Value([[200.0, 0.0]])
    loss = logits.softmax_cross_entropy([1]).backward()
    np.testing.assert_allclose(loss.data, 200, rtol=1e-6)
    np.testing.assert_allclose(logits.grad, [[1, -1]], rtol=1e-6)
    assert not np.isfinite(jnp.log(jax.nn.softmax(logits.data))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_show_in_the_loss(value):
    loss = Value([[0.0, value, 1.0]]).softmax_cross_entropy([0]).forward()
    assert np.isnan(loss.data)


def test_the_gradient_from_above_reaches_the_logits():
    rng = np.random.default_rng(0)
    logits, labels = Value(rng.normal(size=(4, 5))), rng.integers(0, 5, 4)
    loss = logits.softmax_cross_entropy(labels)
    loss.backward()
    alone = np.asarray(logits.grad)
    (loss * -3.0).backward()
    np.testing.assert_allclose(logits.grad, -3 * alone, rtol=1e-6)
    loss.backward(0.0)
    assert not np.any(logits.grad)


@pytest.mark.parametrize("as_indices", [list, np.asarray, lambda i: Value(i)])
def test_concrete_indices_are_checked_inside_a_trace_too(as_indices):
    def row(table):
        return Value(table).gather(as_indices([0, 7])).forward().data

    with pytest.raises(IndexRangeError, match="gather: the index 7 is outside 0 to 2"):
        jax.jit(row)(np.zeros((3, 2), np.float32))


def test_no_index_at_all():
    with pytest.raises(TypeError, match="gather: found no index"):
        Value(np.zeros((3, 2), np.float32)).gather([])
