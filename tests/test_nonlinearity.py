"""What an activation may return, and what is said of one that returns something else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.theory import ACTIVATIONS, Nonlinearity, TheoryError, find_nonlinearity, forward_gain


def _with(function, derivative=np.ones_like):
    return Nonlinearity("mine", function, derivative)


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(x=st.floats(-30.0, 30.0).filter(lambda x: abs(x) > 1e-3))
def test_the_derivatives_of_the_known_activations_are_their_slopes(name, x):
    known = ACTIVATIONS[name]
    step = 1e-4
    below, above = known.values(np.array([x - step, x + step]))
    assert known.slopes(np.array([x]))[0] == pytest.approx((above - below) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_known_activations_stay_finite_far_out(name):
    far = np.array([-1e6, -800.0, 800.0, 1e6])
    assert np.isfinite(ACTIVATIONS[name].values(far)).all()
    assert np.isfinite(ACTIVATIONS[name].slopes(far)).all()


def test_an_unknown_name_is_met_with_the_nearest():
    with pytest.raises(OptionError, match=r"activation 'Rellu' is not known .* did you mean relu"):
        find_nonlinearity("Rellu")


def test_any_shape_is_kept_and_functions_see_two_lengths_only():
    lengths = set()

    def seen(x):
        lengths.add(x.shape)
        return 2.0 * x

    for shape in [(), (3,), (2, 300), (40, 30, 20)]:
        x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        np.testing.assert_array_equal(_with(seen).values(x), 2.0 * x)
    assert lengths == {(512,), (16_384,)}


def test_what_is_not_finite_is_named_with_its_place():
    with pytest.raises(TheoryError, match=r"mine: the activation is nan at -15.9"):
        forward_gain(_with(lambda x: np.where(x > -12.0, x, np.nan)))
    with pytest.raises(TheoryError, match="mine: the derivative is inf at"):
        forward_gain(_with(np.tanh, lambda x: np.where(x > 3.0, np.inf, 1.0)))


def test_an_overflow_inside_that_comes_out_finite_is_no_fault():
    def softly(x):
        return np.tanh(np.log1p(np.exp(100.0 * x)))

    assert np.isfinite(_with(softly).values(np.array([20.0]))).all()


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda x: 1.0, r"shape \(\) for 512 numbers"),
        (lambda x: x[:-1], r"shape \(511,\) for 512 numbers"),
        (lambda x: x + 1j, "of type complex128"),
        (lambda x: None, "returned a NoneType of type object"),
        (lambda x: "tanh", "returned a str"),
        (lambda x: [[1.0], [1.0, 2.0]], "returned a list, which NumPy cannot read"),
        (lambda x: x.astype(np.float16), "of type float16"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(function, complaint):
    with pytest.raises(TheoryError, match=f"mine: the activation .*{complaint}"):
        forward_gain(_with(function))


def test_what_looks_at_its_neighbours_is_no_activation():
    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    with pytest.raises(TheoryError, match="another value in other company"):
        forward_gain(_with(softmax))


def test_noise_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(TheoryError, match="another value in other company"):
        forward_gain(_with(lambda x: x * (generator.random(x.shape) > 0.5)))


def test_integers_and_booleans_are_numbers():
    relu = _with(lambda x: np.maximum(x, 0), lambda x: x > 0)
    assert forward_gain(relu) == pytest.approx(2**0.5, rel=1e-14)


def test_float32_is_good_to_about_five_digits():
    single = _with(
        lambda x: np.tanh(x.astype(np.float32)),
        lambda x: 1 - np.tanh(x.astype(np.float32)) ** 2,
    )
    assert forward_gain(single) == pytest.approx(forward_gain(ACTIVATIONS["tanh"]), rel=1e-5)
