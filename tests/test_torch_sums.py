"""PyTorch's own reductions give the numbers of the measurements that every framework shares."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from fanin.diagnosis import measurements
from fanin.torch import sums


def same(one, other):
    for own, its in zip(one, other, strict=True):
        if isinstance(own, tuple):
            same(own, its)
        else:
            own, its = (torch.as_tensor(each).double().numpy() for each in (own, its))
            np.testing.assert_allclose(own, its, rtol=2e-4, atol=2e-6)


def tables():
    torch.manual_seed(0)
    x = torch.randn(300, 40) + 0.5
    yield "wide", x
    yield "tall", torch.randn(2000, 8)
    yield "relu", x.relu()
    yield "one row", x[:1]
    yield "constant", torch.full((64, 5), 0.1)
    yield "zero", torch.zeros(64, 5)
    yield "small and large units", x * torch.logspace(-9, 9, 40)
    yield "double", x.double()


TABLES = dict(tables())


@pytest.mark.parametrize("name", TABLES)
def test_ordinary_tables_have_the_same_numbers(name):
    x = TABLES[name]
    found, ordinary = sums.signal(x)
    assert ordinary
    same(found, measurements.signal(x, careful=True))


@pytest.mark.parametrize("factor", [torch.nan, torch.inf, 1e30, 1e-30])
def test_others_go_the_careful_way(factor):
    x = torch.randn(64, 8)
    x[:, 3] *= factor
    found, ordinary = sums.signal(x)
    assert not ordinary
    assert bool(found.sums.variance.isfinite().all())


def test_a_constant_has_no_variance_and_no_difference_at_all():
    x = torch.full((1000, 3), 0.1)
    found = sums.unit_sums(x)
    assert not found.variance.any()
    assert torch.equal(found.mean * found.largest, x[0])
