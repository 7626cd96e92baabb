"""Prescriptions: as code, applied to a copy, applied in place, and measured layer by layer."""

import math
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.planted_faults import FAULTS, Trial, examples, spoilt

from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.report import ReportError
from fanin.networks import CharacterMLP, initial_statistics
from fanin.starts import find_start

NETWORK = CharacterMLP(27, hidden=(48, 48), activation="relu")


@pytest.fixture(scope="module")
def data():
    return examples()


def with_fault(name, layer="hidden.1"):
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    return spoilt(Trial(fault, NETWORK, layer if fault.layer == "hidden" else fault.layer, 0))


def run_code(report, parameters, data, statistics=None):
    """What the prescriptions' code makes of copies."""
    names = {
        "parameters": dict(parameters),
        "statistics": dict(statistics or {}),
        "network": report.subject.network,
        "contexts": data[0],
    }
    for prescription in report.prescriptions:
        exec(prescription.code, dict(names))
    return names["parameters"], names["statistics"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(other[name]), name)


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("output × 30", {("output.weight", "scale")}),
        ("output bias off by 5", {("output.bias", "zero")}),
        ("W × 5", {("hidden.1.weight", "scale")}),
        ("two units copied", {("hidden.1.weight", "draw")}),
        ("constant layer", {("hidden.1.weight", "draw")}),
        ("key used twice", {("output.weight", "shuffle")}),
        ("dead relus", {("hidden.1.bias", "zero")}),
        ("a quarter of relus dead", {("hidden.1.bias", "zero")}),
        ("NaN in one weight", {("hidden.1.weight", "draw")}),
        ("embedding × 50", {("embedding.weight", "scale")}),
    ],
)
def test_the_code_is_the_fix_and_nothing_else_is_touched(name, actions, data):
    parameters = with_fault(name)
    report = diagnose(NETWORK, parameters, *data)
    assert {(each.parameter, each.action) for each in report.prescriptions} == actions
    assert all(each.reason and each.checks and each.change for each in report.prescriptions)
    before = dict(parameters)
    fixed = report.fixed()
    assert_same(run_code(report, parameters, data)[0], fixed)
    assert_same(parameters, before)
    changed = {name for name in fixed if fixed[name] is not parameters[name]}
    assert changed == {parameter for parameter, _ in actions}
    assert report.after.verdict == "good"
    assert report.after.loss == pytest.approx(math.log(27), abs=0.1)
    in_place = diagnose(NETWORK, parameters, *data)
    after = in_place.fix_()
    assert_same(parameters, fixed)
    assert after is in_place.after
    assert after.to_dict()["loss"] == report.after.to_dict()["loss"]


def test_only_the_units_that_are_named_are_changed(data):
    parameters = with_fault("a quarter of relus dead")
    report = diagnose(NETWORK, parameters, *data)
    (prescription,) = report.prescriptions
    was, now = np.asarray(parameters["hidden.1.bias"]), np.asarray(report.fixed()["hidden.1.bias"])
    assert set(np.flatnonzero(was == -10)) == set(prescription.units)
    assert (was != now).nonzero()[0].tolist() == list(prescription.units)


def test_symbols_of_an_embedding_are_drawn_again_by_row(data):
    parameters = dict(find_start("fanin")(NETWORK, jax.random.key(0)))
    weight = parameters["embedding.weight"]
    parameters["embedding.weight"] = weight.at[9].set(weight[4])
    report = diagnose(NETWORK, parameters, *data)
    fixed = report.fixed()
    assert_same(run_code(report, parameters, data)[0], fixed)
    moved = np.asarray(fixed["embedding.weight"] != weight).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [9]
    assert report.after.verdict == "good"


def test_an_infinite_statistic_is_measured_anew(data):
    network = CharacterMLP(27, hidden=(12, 12), normalisation="batch")
    parameters = dict(find_start("fanin")(network, jax.random.key(0)))
    statistics = dict(initial_statistics(network, parameters, data[0]))
    true = dict(statistics)
    name = "hidden.1.normalisation.variance"
    statistics[name] = statistics[name].at[0].set(jnp.inf)
    report = diagnose(network, parameters, *data, statistics=statistics)
    (prescription,) = report.prescriptions
    assert prescription.parameter == name
    assert_same(run_code(report, parameters, data, statistics)[1], true)
    report.fix_()
    assert_same(statistics, true)
    assert report.after.verdict == "good"


def test_what_was_put_right_in_place_is_not_put_right_twice(data):
    parameters = with_fault("W × 5")
    report = diagnose(NETWORK, parameters, *data)
    after = report.fix_()
    once = dict(parameters)
    for again in (report.fix_, report.fixed):
        with pytest.raises(ReportError, match="diagnose it again"):
            again()
    assert after.prescriptions == ()
    assert_same(after.fixed(), once)  # of the report after, and not of the fault
    assert_same(parameters, once)


def test_what_cannot_be_changed_in_place_says_so(data):
    parameters = MappingProxyType(with_fault("W × 5"))
    report = diagnose(NETWORK, parameters, *data)
    with pytest.raises(ReportError, match=r"mappingproxy cannot be changed.*fixed\(\)"):
        report.fix_()


def all_normal(seed=0):
    network = CharacterMLP(27, hidden=(64,) * 4)
    return network, dict(find_start("normal")(network, jax.random.key(seed)))


def test_scales_that_are_measured_come_in_order_of_execution(data):
    network, parameters = all_normal()
    report = diagnose(network, parameters, *data)
    prescribed = report.prescribed(data_driven=True)
    weights = [each.parameter for each in prescribed if each.action == "scale"]
    assert weights == [f"hidden.{index}.weight" for index in range(4)] + ["output.weight"]
    fixed = report.fixed(data_driven=True)
    for index in range(4):
        bias = f"hidden.{index}.bias"
        assert fixed[bias] is parameters[bias]  # left alone
    after = report.after
    for layer in after.recording.layers[1:-1]:
        bias = layer.parameters[1].data.second_moment
        sums = layer.preactivation.second_moment - bias
        # What the biases leave of 1, and a tenth at least; sums and biases are not quite
        # independent over so few units.
        assert sums == pytest.approx(max(1 - bias, 0.1), abs=0.15)
    assert after.recording.loss.output.std < 0.15
    assert fixed["embedding.weight"] is parameters["embedding.weight"]
    for each in prescribed:
        if each.action == "scale":
            exec(each.code, {"parameters": parameters})
    assert all(parameters[name] is not None for name in weights)
    np.testing.assert_array_equal(parameters["hidden.2.weight"], fixed["hidden.2.weight"])


def test_biases_are_set_to_zero_when_told(data):
    network, parameters = all_normal()
    report = diagnose(network, parameters, *data)
    fixed = report.fixed(data_driven=True, biases=True)
    for index in range(4):
        assert not np.asarray(fixed[f"hidden.{index}.bias"]).any()
    for layer in report.after.recording.layers[1:-1]:
        assert layer.preactivation.second_moment == pytest.approx(1.0, abs=0.01)
    assert report.after.verdict == "good"


def test_large_biases_of_layers_that_are_too_wide_go_with_the_scale(data):
    network, parameters = all_normal()
    report = diagnose(network, parameters, *data)
    fixed = report.fixed()
    assert not np.asarray(fixed["hidden.3.bias"]).any()
    assert (report.verdict, report.after.verdict) == ("bad", "good")
    small = {
        name: a * 0.3 if "hidden" in name and "bias" in name else a
        for name, a in parameters.items()
    }
    made = diagnose(network, small, *data).prescriptions
    assert "hidden.3.weight" in {each.parameter for each in made}
    assert "hidden.3.bias" not in {each.parameter for each in made}


def test_nothing_is_measured_or_changed_where_nothing_is_wrong(data):
    parameters = dict(find_start("fanin")(NETWORK, jax.random.key(0)))
    report = diagnose(NETWORK, parameters, *data)
    assert report.prescribed(data_driven=True, biases=True) == ()
    assert_same(report.fixed(data_driven=True, biases=True), parameters)


def test_the_ways_out_of_a_deep_networks_trouble_come_with_code_and_moments(data):
    network = CharacterMLP(27, hidden=(48,) * 10)
    start = find_start("fan-in:gain=0.6")(network, jax.random.key(0))
    report = diagnose(network, dict(start), *data)
    assert report.check("gradients").verdict == "bad"
    names = [choice.name for choice in report.choices]
    assert names[0] in ("batch normalisation", "layer normalisation")
    assert names[1:] == ["residual", "orthogonal", "critical"]
    for choice in report.choices:
        assert choice.activation_second_moment > 0.02
        assert 0.01 < choice.gradient_product < 100
        given = {"network": network}
        exec(choice.code, given)
        better = diagnose(given["network"], given["parameters"], *data)
        assert better.check("gradients").verdict == "good", choice.name
