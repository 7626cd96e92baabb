import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fanin.diagnosis import measurements, summaries
from fanin.diagnosis.measurements import BINS, HIGH, LOW, ZERO

tables = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(tables)
def test_moments_are_those_of_all_entries(x):
    found = summaries.moments(measurements.signal(x).sums)
    wide = x.astype(np.float64)
    scale = max(np.abs(wide).max(), 1e-30)
    assert found.size == x.size
    assert found.mean == pytest.approx(wide.mean(), abs=1e-5 * scale)
    assert found.std == pytest.approx(wide.std(), rel=1e-3, abs=1e-5 * scale)
    assert found.second_moment == pytest.approx((wide**2).mean(), rel=1e-4, abs=1e-12 * scale**2)
    assert found.largest == np.abs(wide).max()
    assert found.zero_share == (x == 0).mean()
    assert found.finite


@given(tables)
def test_with_care_and_without_it_finite_entries_measure_alike(x):
    quick, careful = measurements.unit_sums(x), measurements.unit_sums(x, careful=True)
    for one, other in zip(quick[:8], careful[:8], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_entries_that_are_not_finite_are_left_out_and_counted():
    x = np.array([[1.0, np.nan], [3.0, np.inf], [-1.0, 2.0]], np.float32)
    with np.errstate(over="ignore", under="ignore"):
        assert not summaries.suit_quick_sums(measurements.unit_sums(x))
    found = summaries.moments(measurements.unit_sums(x, careful=True))
    assert found.finite_share == pytest.approx(4 / 6)
    assert found.mean == pytest.approx(1.25)
    assert found.second_moment == pytest.approx(15 / 4)
    assert found.largest == 3.0


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e18, 1e30])
def test_moments_of_numbers_whose_squares_are_out_of_range(size):
    x = (size * np.random.default_rng(0).standard_normal((64, 8))).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        assert not summaries.suit_quick_sums(measurements.unit_sums(x))
    found = summaries.moments(measurements.unit_sums(x, careful=True))
    assert found.std == pytest.approx(x.astype(np.float64).std(), rel=1e-4)
    assert found.second_moment == pytest.approx((x.astype(np.float64) ** 2).mean(), rel=1e-4)


def test_a_large_mean_does_not_drown_the_variance():
    x = (1000 + np.random.default_rng(0).standard_normal((4096, 3))).astype(np.float32)
    found = summaries.moments(measurements.unit_sums(x))
    assert found.std == pytest.approx(x.astype(np.float64).std(), rel=1e-3)


@given(tables)
def test_a_histogram_counts_every_entry_once(x):
    counted = measurements.counts(x)
    found = summaries.histogram(counted)
    assert found is not None
    assert len(found.counts) == BINS
    assert sum(found.counts) == x.size
    assert found.low <= found.high


@pytest.mark.parametrize("value", [1.09545e-34, -1.09545e-34, 0.1, 1 / 3, -1e17])
@pytest.mark.parametrize("size", [3, 7, 10, 1000])
def test_a_histogram_of_equal_entries_has_its_ends_in_order(value, size):
    found = summaries.histogram(measurements.counts(np.full((size, 5), value, np.float32)))
    assert found is not None
    assert found.low == found.high == pytest.approx(value)
    assert sum(found.counts) == 5 * size


def test_a_histograms_bins_are_where_the_entries_are():
    x = np.random.default_rng(1).standard_normal((512, 16)).astype(np.float32)
    found = summaries.histogram(measurements.counts(x))
    inside, _ = np.histogram(np.clip(x, found.low, found.high), BINS, (found.low, found.high))
    assert np.abs(inside - np.array(found.counts)).max() <= 2  # rounding at the bins' edges
    assert -4.3 < found.low < -3.3 < 3.3 < found.high < 4.3


@given(tables)
def test_cosines_are_those_of_all_pairs(x):
    found = measurements.cosines(x)
    rows = x[np.abs(x).max(axis=1) > 0].astype(np.float64)
    assert found.examples == len(rows)
    if len(rows) < 2:
        return
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = (unit @ unit.T)[~np.eye(len(rows), dtype=bool)]
    between = summaries.between(measurements.unit_sums(x), found)
    assert between.correlation == pytest.approx(apart.mean(), abs=1e-4)
    assert between.squared_correlation == pytest.approx(((unit @ unit.T) ** 2).mean(), abs=1e-4)


def test_the_varying_share_tells_examples_that_have_become_one():
    chance = np.random.default_rng(2)
    one = np.repeat(chance.standard_normal((1, 50)), 64, axis=0)
    nearly = one + 0.01 * chance.standard_normal((64, 50))
    apart = chance.standard_normal((64, 50))
    shares = []
    for x in (one, nearly, apart):
        signal = measurements.signal(x.astype(np.float32))
        shares.append(summaries.between(signal.sums, signal.cosines).varying_share)
    assert shares[0] == pytest.approx(0.0, abs=1e-10)
    assert shares[1] == pytest.approx(1e-4, rel=0.5)
    assert shares[2] > 0.95


def test_both_sides_of_saturation_are_seen():
    before = np.array([[-3.0, -1.0, 3.0], [-2.5, 0.0, 2.0]], np.float32)
    found = measurements.ends(before, np.tanh(before), -2.09, 2.09)
    assert found.low.tolist() == [2, 0, 0]
    assert found.high.tolist() == [0, 0, 1]
    assert found.map.tolist() == [[LOW, 0, HIGH], [LOW, ZERO, 0]]
    assert summaries.map_rows(found.map) == ("-.+", "-0.")
    saturation = summaries.saturation(found, -2.09, 2.09, measurements.unit_sums(before))
    assert (saturation.low_share, saturation.high_share) == (2 / 6, 1 / 6)
    assert saturation.share == 0.5
    assert saturation.bounded


def test_dead_units_are_flat_for_every_example():
    before = np.array([[-3.0, -1.0, 3.0], [-2.5, 0.5, -2.5]], np.float32)
    sums = measurements.unit_sums(np.tanh(before))
    found = measurements.ends(before, np.tanh(before), -2.09, 2.09)
    assert summaries.dead_units(found, sums) == (0, 2)  # a unit may sit at both ends in turn


def test_equal_units_are_found_and_near_ones_are_not():
    weight = np.random.default_rng(3).standard_normal((30, 8)).astype(np.float32)
    weight[:, 5] = weight[:, 1]
    weight[:, 7] = weight[:, 1]
    weight[:, 6] = weight[:, 2]
    weight[0, 6] += 1e-6
    probe = np.random.default_rng(4).standard_normal(30).astype(np.float32)
    groups = summaries.equal_groups(measurements.fingerprints(weight, probe))
    assert (1, 5, 7) in groups
    assert summaries.exact_groups(groups, weight) == ((1, 5, 7),)


def test_two_fingerprints_must_both_agree():
    assert summaries.equal_groups(np.array([1.0, 1.0, 2.0]), np.array([5.0, 6.0, 5.0])) == []
    assert summaries.equal_groups(np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0])) == [(0, 1)]


def test_logits_means_and_probabilities():
    logits = np.array([[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]], np.float32)
    found = measurements.output(logits)
    np.testing.assert_allclose(found.class_means, [0.5, 0.5, 2.0])
    assert float(found.variance) == pytest.approx(1.0)
    sure = np.exp(3) / (2 + np.exp(3))
    assert float(found.largest_probability) == pytest.approx((sure + 1 / 3) / 2)
    wide = measurements.output(np.array([[1e4, 0.0]], np.float32))
    assert float(wide.largest_probability) == 1.0
