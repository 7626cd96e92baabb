import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.starts import OPTIONS, SCHEMES, Rule, find_start

NETWORK = CharacterMLP(27, hidden=(300, 200))


def deviations(name):
    parameters = find_start(name)(NETWORK, jax.random.key(0))
    return {name: float(np.std(array)) for name, array in parameters.items()}


def test_gain_is_that_of_all_weights_where_the_start_treats_them_alike():
    found = deviations("kaiming-normal:gain=1")
    assert found["hidden.0.weight"] == pytest.approx(30**-0.5, rel=0.04)
    assert found["hidden.1.weight"] == pytest.approx(300**-0.5, rel=0.02)
    assert found["output.weight"] == pytest.approx(200**-0.5, rel=0.04)


def test_gain_leaves_an_output_of_its_own_as_it_is():
    found = deviations("fanin:gain=3")
    assert found["hidden.0.weight"] == pytest.approx(3 * 30**-0.5, rel=0.04)
    assert found["output.weight"] == pytest.approx(0.1 * 200**-0.5, rel=0.04)


def test_gain_and_output_of_an_orthogonal_start():
    parameters = find_start("orthogonal:gain=1.6,output=0.1")(NETWORK, jax.random.key(0))
    hidden, output = (np.asarray(parameters[f"{n}.weight"]) for n in ("hidden.1", "output"))
    np.testing.assert_allclose(hidden.T @ hidden, 1.6**2 * np.eye(200), atol=1e-4)
    np.testing.assert_allclose(output.T @ output, 0.1**2 * np.eye(27), atol=1e-6)


def test_a_gain_may_come_from_the_activation():
    found = deviations("orthogonal:gain=forward")
    assert found["hidden.1.weight"] == pytest.approx(1.59254 * 300**-0.5, rel=0.01)


def test_mode_bias_and_embedding():
    found = deviations("kaiming-normal:mode=fan_out,bias=0.3,embedding=0.5")
    assert found["hidden.1.weight"] == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert found["output.weight"] == pytest.approx((2 / 27) ** 0.5, rel=0.04)
    assert found["hidden.0.bias"] == pytest.approx(0.3, rel=0.15)
    assert found["output.bias"] == 0
    assert found["embedding.weight"] == pytest.approx(0.5, rel=0.15)
    assert find_start("normal:bias=0").bias == Rule("constant", 0.0)


def test_bias_variance_is_the_square_of_bias():
    assert find_start("fanin:bias_variance=0.25").bias == find_start("fanin:bias=0.5").bias


def test_options_in_any_order_and_spelling_are_one_start_with_one_name():
    one = find_start("orthogonal:gain=1.6,output=0.1")
    other = find_start("orthogonal: output = .10 , gain=16e-1")
    assert one == other
    assert other.name == "orthogonal:gain=1.6,output=0.1"
    assert find_start("fan-in:gain=2.0").name == "fan-in:gain=2"


settings = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["none", "fan_in", "fan_out", "average"]),
        "gain": st.floats(0, 1e6) | st.sampled_from(["forward", "critical"]),
        "output": st.floats(0, 1e6) | st.just("forward"),
        "bias": st.floats(0, 10),
        "embedding": st.floats(0, 10),
        "residual": st.sampled_from(["scaled", "plain"]),
    },
)


@given(st.sampled_from(["fanin", "normal", "glorot-uniform", "torch-default"]), settings)
def test_the_name_with_its_options_gives_the_scheme_again(base, chosen):
    text = ",".join(f"{name}={setting}" for name, setting in chosen.items())
    scheme = find_start(f"{base}:{text}" if chosen else base)
    assert find_start(scheme.name) == scheme
    assert (scheme == SCHEMES[base]) == (not chosen)
    if chosen.get("gain") is not None:
        assert scheme.hidden.gain == chosen["gain"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fanin:gian=1", r"start fanin: the option 'gian' is not known; did you mean gain\? There"),
        ("fanin:qqq=1", r"the option 'qqq' is not known. There are mode, gain, output, bias, "),
        ("fanin:", r"the option '' is not known"),
        ("fanin:gain", r"the option gain has no value; it takes a number from 0 up, or forward"),
        ("fanin:gain=", r"the option gain has no value"),
        ("fanin:gain=two", r"gain is 'two'; it takes a number from 0 up, or forward or critical"),
        ("fanin:gain=-1", r"gain is '-1'; it takes a number from 0 up"),
        ("fanin:bias=nan", r"bias is 'nan'; it takes a number from 0 up"),
        ("fanin:bias=forward", r"bias is 'forward'; it takes a number from 0 up$"),
        ("fanin:mode=fan-out", r"mode is 'fan-out'; it takes one of none, fan_in, fan_out, av"),
        ("fanin:residual=yes", r"residual is 'yes'; it takes one of scaled, plain"),
        ("fanin:gain=1,gain=2", r"gain is given twice"),
        ("fanin:bias=1,bias_variance=1", r"bias and bias_variance say the same thing"),
        ("orthogonal:mode=fan_in", r"orthogonal takes no mode: an orthogonal matrix is scaled by"),
        ("lsuv:gain=2", r"start lsuv takes no gain: it scales the hidden weights by what it meas"),
        ("critical:gain=2", r"start critical takes no gain: theory gives its gain"),
        ("zeros-output:output=1", r"start zeros-output takes no output: its output is zero"),
    ],
)
def test_errors_name_the_start_and_the_option_and_what_would_do(name, message):
    with pytest.raises(OptionError, match=message):
        find_start(name)


def test_every_option_has_a_line():
    assert all(option.summary and option.takes for option in OPTIONS.values())


@pytest.mark.parametrize("distribution", ["orthogonal", "constant"])
def test_what_is_scaled_by_its_gain_alone_takes_no_fan(distribution):
    with pytest.raises(OptionError, match=f"{distribution} is scaled by its gain alone"):
        Rule(distribution, 1.0, "fan_in")
