"""`loss.profile()`: the time of each operation, forward and backward."""

import jax
import numpy as np
import pytest

from fanin.autograd import TraceError, Value
from fanin.errors import OptionError


def test_times_of_every_operation_in_order():
    x = Value(np.ones((64, 32)))
    hidden = (x @ np.ones((32, 16))).tanh()
    hidden.name = "hidden"
    found = hidden.mean().profile(rounds=3)
    assert [t.operation for t in found.timings] == ["matmul", "tanh", "mean"]
    assert [t.name for t in found.timings] == ["matmul", "hidden", "mean"]
    assert found.timings[0].result.shape == (64, 16)
    assert all(t.forward > 0 and t.backward > 0 for t in found.timings)
    assert found.forward == sum(t.forward for t in found.timings)
    assert found.empty_call > 0
    assert found.together > 0
    assert x.grad is None, "nothing is stored"


def test_the_slowest_is_the_one_with_the_most_to_do():
    rng = np.random.default_rng(0)
    x, small = Value(rng.normal(size=(600, 600))), Value(rng.normal(size=(2, 2)))
    found = (small.tanh().sum() + (x @ x).sum()).profile(rounds=3)
    assert found.slowest.operation == "matmul"
    marked = [line for line in str(found).splitlines() if "slowest" in line]
    assert len(marked) == 1
    assert marked[0].startswith("matmul")


def test_the_table_names_operations_shapes_and_totals():
    x = Value(np.ones(4))
    node = x.exp()
    node.name = "growth"
    lines = str(node.sum().profile(rounds=1)).splitlines()
    assert lines[0].split() == ["operation", "name", "result", "forward", "backward"]
    assert lines[1].split()[:3] == ["exp", "growth", "float32[4]"]
    assert lines[2].split()[:2] == ["sum", "float32[]"]
    assert lines[3].startswith("total")
    assert "does nothing" in lines[4]
    assert "one program" in lines[5]


def test_a_long_graph_shows_its_slowest_and_counts_the_rest():
    root = x = Value(1.0)
    for _ in range(600):
        root = root + x
    found = root.profile(rounds=1)
    assert len(found.timings) == 600
    assert found.together is None
    assert "… 560 faster ones" in str(found)
    assert len(str(found).splitlines()) == 1 + 40 + 3


def test_graphs_without_gradients_and_of_many_numbers():
    assert Value([1, 2]).sum().profile(rounds=1).backward == 0
    found = Value(np.ones(3)).gather([0, 1]).tanh().profile(rounds=1)
    assert all(t.backward > 0 for t in found.timings)
    assert Value(1.0).profile(rounds=1).slowest is None
    assert "total" in str(Value(1.0).profile(rounds=1))


def test_a_profile_measures_real_time():
    with pytest.raises(TraceError, match="outside JAX transformations"):
        jax.jit(lambda a: Value(a).tanh().profile().forward)(1.0)
    with pytest.raises(OptionError, match="rounds must be at least 1; found 0"):
        Value(1.0).tanh().profile(0)
