"""Tables that are measured together give the numbers of the measurements that all share."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from fanin.diagnosis import measurements, summaries
from fanin.torch import sums
from fanin.torch.signals import WAITING, Tables


def same(one, other):
    for name, own, its in zip(one._fields, one, other, strict=True):
        if isinstance(own, tuple) and its is not None:
            same(own, its)
        elif name != "totals":
            own, its = (np.asarray(each, np.float64) for each in (own, its))
            np.testing.assert_allclose(own, its, rtol=2e-4, atol=2e-6)


def tables():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 40)) + 0.5).astype(np.float32)
    yield "wide", x
    yield "beside it", x[:, :7] * 3.0
    yield "tall", rng.standard_normal((1000, 8)).astype(np.float32)
    yield "an odd number of rows", rng.standard_normal((333, 3)).astype(np.float32)
    yield "in the other order", np.ascontiguousarray(x.T).T
    yield "relu", np.maximum(x, 0.0)
    yield "one row", x[:1]
    yield "constant", np.full((64, 5), 0.1, np.float32)
    yield "zero", np.zeros((64, 5), np.float32)
    yield "small and large units", x * np.logspace(-9, 9, 40, dtype=np.float32)
    yield "double", x.astype(np.float64)


TABLES = dict(tables())


def test_ordinary_tables_have_the_same_numbers_measured_together():
    found = sums.signals(list(TABLES.values()))
    for x, own in zip(TABLES.values(), found, strict=True):
        same(own, measurements.signal(x, careful=True))
        own_totals, totals = own.sums.totals, summaries.totals(own.sums)
        np.testing.assert_allclose(own_totals[:7], totals[:7], rtol=1e-5, atol=1e-7)
        assert own_totals.zeros == totals.zeros


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e30, 1e-30])
def test_others_go_the_careful_way_and_leave_their_neighbours_alone(factor):
    x = TABLES["wide"]
    broken = x.copy()
    broken[:, 3] *= np.float32(factor)
    own, other = sums.signals([broken, x])
    assert own.sums.totals is None
    assert np.isfinite(own.sums.variance).all()
    same(other, measurements.signal(x, careful=True))


def test_a_constant_has_no_variance_and_no_difference_at_all():
    x = np.full((1000, 3), 0.1, np.float32)
    (found,) = sums.unit_sums([x])
    assert not found.variance.any()
    assert np.array_equal(found.mean * found.largest, x[0])


def test_what_waits_to_be_measured_is_what_it_was_and_not_much():
    waiting, x = Tables(), torch.randn(64, 16)
    found = [waiting.measured(x, 1)]
    wanted = float(x.square().mean())
    x.zero_()
    held = 0
    for _ in range(3 * WAITING // 1024):
        found.append(waiting.measured(torch.randn(64, 16), 1))
        held = max(held, waiting._entries)
    assert held < WAITING
    assert found[0].signal.sums.totals.second_moment == pytest.approx(wanted, rel=1e-5)
    assert all(each.signal.sums.rows == 64 for each in found)
