import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.planted_faults import examples

from fanin.diagnosis.checks import CHECKS
from fanin.diagnosis.judge import judge
from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.recorder import nonlinearities, record
from fanin.diagnosis.report import VERDICTS
from fanin.diagnosis.thresholds import THRESHOLDS, Limit
from fanin.networks import CharacterMLP
from fanin.starts import find_start
from fanin.training import loss_and_gradient

NETWORK = CharacterMLP(27, hidden=(40, 40))
RUNAWAY = CharacterMLP(27, hidden=(100,) * 12, activation="gelu")
KNOWN = nonlinearities(NETWORK)


@pytest.fixture(scope="module")
def data():
    return examples()


@pytest.fixture(scope="module")
def recording(data):
    return record(NETWORK, started("fanin"), *data)


def started(start, network=NETWORK, seed=0):
    return dict(find_start(start)(network, jax.random.key(seed)))


def spoilt(name, factor):
    parameters = started("fanin")
    return {**parameters, name: factor * parameters[name]}


def with_layer(recording, name, **fields):
    layers = (replace(each, **fields) if each.name == name else each for each in recording.layers)
    return replace(recording, layers=tuple(layers))


def test_a_limit_has_two_sides_and_three_verdicts():
    limit = Limit(below=(0.5, 0.1), above=(2.0, 10.0))
    values = (0.05, 0.3, 0.5, 1.0, 2.0, 5.0, 11.0, None)
    verdicts = ["bad", "suspect", "good", "good", "good", "suspect", "bad", "good"]
    assert [limit.verdict(value) for value in values] == verdicts
    assert (limit.low, limit.high) == (0.5, 2.0)
    assert (Limit().low, Limit().high, Limit().verdict(1e9)) == (None, None, "good")


def test_every_threshold_has_its_reason():
    for name, limit in vars(THRESHOLDS).items():
        assert len(limit.why) > 20, name
        assert limit.below or limit.above, name


def test_a_healthy_network_is_good_and_says_what_was_looked_at(recording):
    report = judge(recording, KNOWN)
    assert report.verdict == "good"
    # It has none of these, of which there would be something to say.
    without = {"running statistics", "attention", "stream"}
    made = {check.name for check in report.checks}
    assert made == {each.__name__.replace("_", " ") for each in CHECKS} - without
    for check in report.checks:
        assert check.text.endswith(".")
        assert check.source
        assert check.layers == ()
    assert report.prescriptions == report.choices == ()
    assert report.check("loss").expected == pytest.approx(math.log(27))


def test_the_loss_stands_beside_that_of_small_logits_that_know_nothing(recording):
    told = judge(recording, KNOWN).check("loss").text
    # log 27 + ½ (1 − 1/27) Var(logit), of facts.md.
    expected = math.log(27) + 0.5 * (26 / 27) * recording.loss.output.second_moment
    assert f"have {expected:.4g} at this variance" in told
    assert recording.loss.value == pytest.approx(expected, abs=0.03)
    wide = replace(recording.loss, output=replace(recording.loss.output, second_moment=4.0))
    assert "Small logits" not in judge(replace(recording, loss=wide), KNOWN).check("loss").text


def test_a_layer_that_widens_much_is_not_out_of_scale_for_being_just_below_one(recording):
    wide = with_layer(recording, "hidden.0", gain=0.995, fan_in=30, fan_out=2048)
    check = judge(wide, KNOWN).check("gain")
    assert (check.verdict, check.layers) == ("good", ())
    narrow = with_layer(recording, "hidden.0", gain=0.2, fan_in=30, fan_out=30)
    assert judge(narrow, KNOWN).check("gain").layers == ("hidden.0",)


def test_the_worst_comes_first(data):
    report = diagnose(NETWORK, started("normal"), *data)
    places = [VERDICTS.index(check.verdict) for check in report.checks]
    assert places == sorted(places, reverse=True)
    assert report.verdict == report.checks[0].verdict == "bad"
    assert report.verdict_of("hidden.0") == "bad"
    assert report.verdict_of("embedding") == "good"


def test_thresholds_can_be_changed(recording):
    strict = replace(THRESHOLDS, saturation=Limit(above=(0.0001, 0.5), why="as a trial"))
    check = judge(recording, KNOWN, thresholds=strict).check("saturation")
    assert check.verdict == "suspect"
    assert judge(recording, KNOWN).check("saturation").verdict == "good"
    assert check.high == 0.0001


def test_a_zero_output_layer_is_no_fault(data):
    parameters = started("fanin")
    parameters["output.weight"] = jnp.zeros_like(parameters["output.weight"])
    report = diagnose(NETWORK, parameters, *data)
    assert report.check("symmetry").verdict == "good"
    assert report.loss == pytest.approx(math.log(27), rel=1e-6)


def test_wide_logits_are_the_fault_of_what_made_them_wide(data):
    by_output = started("fanin")
    by_output["output.weight"] = by_output["output.weight"] * 200
    linear = replace(NETWORK, activation="identity")
    by_hidden = started("fanin", linear)
    by_hidden["hidden.1.weight"] = by_hidden["hidden.1.weight"] * 100
    for network, parameters, layer in (
        (NETWORK, by_output, "output"),
        (linear, by_hidden, "hidden.1"),
    ):
        report = diagnose(network, parameters, *data)
        for name in ("loss", "logits"):
            assert report.check(name).verdict == "bad"
            assert report.check(name).layers == (layer,)


def test_where_values_are_not_finite_nothing_else_is_judged(data):
    parameters = started("fanin")
    weight = parameters["hidden.1.weight"]
    parameters["hidden.1.weight"] = weight.at[0, 0].set(jnp.nan)
    report = diagnose(NETWORK, parameters, *data)
    assert [check.name for check in report.checks] == ["finite", "streams"]
    assert report.check("finite").layers == ("hidden.1",)
    assert "hidden.1.weight" in report.check("finite").text
    assert report.loss is None


def test_what_was_not_measured_is_not_judged(recording):
    bare = with_layer(recording, "hidden.1", saturation=None, between=None, gradient=None)
    report = judge(replace(bare, loss=None), KNOWN)
    names = {check.name for check in report.checks}
    assert not names & {"loss", "logits", "gradients", "examples"}
    assert {"saturation", "gain", "symmetry"} <= names  # of the other layers
    assert report.verdict == "good"


def test_an_activation_without_theory_is_judged_without_it(recording):
    report = judge(recording, {})
    assert report.verdict == "good"
    assert report.check("saturation").expected is None


def test_saturation_and_its_share_are_told(recording):
    layer = recording.layer("hidden.0")
    wide = replace(layer.saturation, low_share=0.35, high_share=0.4)
    check = judge(with_layer(recording, "hidden.0", saturation=wide), KNOWN).check("saturation")
    assert (check.verdict, check.value) == ("bad", 0.75)
    assert "75.0%" in check.text
    assert "hidden.0" in check.layers


def test_deep_gelu_runs_away_and_the_report_says_why(data):
    parameters = started("fan-in:gain=2", RUNAWAY)
    report = diagnose(RUNAWAY, parameters, *data)
    layers = report.recording.layers[1:-1]
    moments = [layer.preactivation.second_moment for layer in layers]
    assert moments[-1] > 100 * moments[1]
    check = report.check("gradients")
    assert check.verdict == "bad"
    assert "With gelu the second moment's own map has the slope" in check.text
    assert "above 1, so deviations grow from layer to layer whatever the gain" in check.text
    assert report.choices[0].name.endswith("normalisation")


def test_copies_and_shared_streams_name_their_layers(recording):
    copied = with_layer(recording, "hidden.1", copies=((1, 4),), twins=((1, 4),))
    check = judge(copied, KNOWN).check("symmetry")
    assert (check.verdict, check.layers) == ("suspect", ("hidden.1",))
    assert "1 = 4" in check.text
    assert "stay one" in check.text
    assert judge(recording, KNOWN).check("streams").value == 0.0


def test_a_first_update_that_hardly_changes_a_layer_is_told(recording):
    layer = recording.layer("hidden.0")
    own = tuple(replace(each, update_to_data=-6.0) for each in layer.parameters)
    check = judge(with_layer(recording, "hidden.0", parameters=own), KNOWN).check("updates")
    assert (check.verdict, check.layers, check.value) == ("suspect", (), -6.0)
    assert "changes hidden.0 by 1e-06" in check.text
    assert "hardly learns" in check.text


def test_small_updates_behind_an_output_layer_next_to_zero_are_no_fault(recording):
    layer = recording.layer("hidden.0")
    own = tuple(replace(each, update_to_data=-6.0) for each in layer.parameters)
    recording = with_layer(recording, "hidden.0", parameters=own)
    check = judge(with_layer(recording, "output", gain=1e-4), KNOWN).check("updates")
    assert (check.verdict, check.layers) == ("good", ())


def test_large_first_updates_are_told(recording):
    layer = recording.layer("hidden.0")
    own = tuple(replace(each, update_to_data=1.0) for each in layer.parameters)
    large = with_layer(recording, "hidden.0", parameters=own)
    check = judge(large, KNOWN).check("updates")
    # Of weights as they should be it is the gradient that is large, or the rate.
    assert (check.verdict, check.layers) == ("bad", ())
    assert "changes hidden.0 by 10 of its size" in check.text
    assert "learning rate 0.1" in check.text
    check = judge(with_layer(large, "hidden.0", gain=0.01), KNOWN).check("updates")
    assert (check.verdict, check.layers) == ("bad", ("hidden.0",))


def test_weights_so_large_that_a_step_hardly_changes_them_are_made_smaller(data):
    # A normalisation after the sum takes the scale of a branch away, and not the update's.
    network = CharacterMLP(27, hidden=(60,) * 12, normalisation="layer", residual=True)
    parameters = {
        name: array * (10.0 if name.endswith("weight") and name.startswith("hidden.") else 1.0)
        for name, array in started("fan-in:output=0.1", network).items()
    }
    report = diagnose(network, parameters, *data)
    check = report.check("updates")
    assert check.verdict == "suspect"
    assert check.layers
    assert {made.layer for made in report.prescriptions} >= set(check.layers)
    assert "in one of 11 branches, a gain of" in report.prescriptions[-1].reason
    assert report.fix_().verdict == "good"


def test_large_updates_are_not_laid_to_the_victims_of_a_wide_layer(data):
    report = diagnose(NETWORK, spoilt("output.weight", 300.0), *data)
    assert {check.name for check in report.checks if check.verdict != "good"} >= {"first step"}
    assert report.check("updates").verdict != "good"
    assert {name for check in report.checks for name in check.layers} == {"output"}


def test_a_first_step_that_goes_too_far_by_biases_names_and_mends_them(data):
    network = CharacterMLP(27, hidden=(96,) * 4, activation="relu")
    parameters = started("fanin", network)
    parameters["hidden.1.bias"] = parameters["hidden.1.bias"] + 10.0
    report = diagnose(network, parameters, *data)
    check = report.check("first step")
    assert (check.verdict, check.layers) == ("suspect", ("hidden.1",))
    assert "Mend the scales of hidden.1, or take a rate" in check.text
    assert [made.parameter for made in report.prescriptions] == ["hidden.1.bias"]
    assert report.fix_().verdict == "good"


def test_only_what_runs_away_by_itself_is_said_to(data):
    # relu keeps its scale: a weight of five times its size is the fault, and no slope.
    network = CharacterMLP(27, hidden=(40,) * 4, activation="relu")
    parameters = {
        name: array * (3.0 if name.startswith("hidden") else 1.0)
        for name, array in started("fanin", network).items()
    }
    check = diagnose(network, parameters, *data).check("gradients")
    assert check.verdict == "bad"
    assert "slope" not in check.text
    parameters = {**started("fanin", RUNAWAY)}
    parameters["hidden.5.weight"] = 100.0 * parameters["hidden.5.weight"]
    check = diagnose(RUNAWAY, parameters, *data).check("gradients")
    assert (check.verdict, check.layers) == ("bad", ("hidden.5",))
    assert "slope" not in check.text


def test_a_residual_stream_that_doubles_at_each_sum_is_its_branches_doing(data):
    network = CharacterMLP(27, hidden=(60,) * 12, activation="relu", residual=True)
    branches = tuple(f"hidden.{place}" for place in range(1, 12))
    report = diagnose(network, started("kaiming-normal", network), *data)
    assert set(report.check("loss").layers) == {"hidden.0", *branches}
    after = report.fix_()
    assert after.verdict == "good"
    growth = [
        after.recording.layer(name).preactivation.second_moment
        for name in ("hidden.1.sum", "hidden.11.sum")
    ]
    assert growth[1] < 3 * growth[0]


def test_wide_gains_of_a_normalisation_are_what_is_scaled_after_one(data):
    network = replace(NETWORK, normalisation="layer")
    parameters = started("fanin", network)
    gain = "hidden.1.normalisation.gain"
    parameters[gain] = 8.0 * parameters[gain]
    report = diagnose(network, parameters, *data)
    assert report.check("saturation").layers == ("hidden.1",)
    for data_driven in (False, True):
        (made,) = report.prescribed(data_driven=data_driven)
        assert (made.parameter, made.number) == (gain, 0.125)
    assert report.fix_().verdict == "good"


def test_saturation_says_at_which_end(data):
    parameters = started("fanin")
    parameters["hidden.1.bias"] = parameters["hidden.1.bias"] - 10.0
    text = diagnose(NETWORK, parameters, *data).check("saturation").text
    assert "(entries of example × unit, at the lower end)" in text
    text = diagnose(NETWORK, spoilt("hidden.1.weight", 5.0), *data).check("saturation").text
    assert "at both ends" in text


def test_a_first_step_that_promises_more_than_the_whole_loss_goes_too_far(data):
    parameters = started("fanin")
    modest = diagnose(NETWORK, parameters, *data).check("first step")
    assert modest.verdict == "good"
    recording = record(NETWORK, parameters, *data, learning_rate=2.0 / modest.value * 0.1)
    check = judge(recording, KNOWN).check("first step")
    assert check.verdict == "suspect"
    assert check.value == pytest.approx(2.0, rel=1e-4)
    assert "a rate below" in check.text
    power = sum(
        float((np.asarray(gradient) ** 2).sum())
        for gradient in loss_and_gradient(NETWORK, parameters, *data)[1].values()
    )
    assert modest.value == pytest.approx(0.1 * power / recording.loss.value, rel=1e-3)
    adam = judge(replace(recording, optimiser="adam"), KNOWN)
    assert "first step" not in {each.name for each in adam.checks}
