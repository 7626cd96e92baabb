import pytest
from benchmarks import planted_faults
from benchmarks.planted_faults import FAULTS, OTHERS, Trial, examples, shortcoming, spoilt, trials

from fanin.diagnosis.of_network import diagnose
from fanin.networks import CharacterMLP

WIDTH = 64
SHALLOW = [fault for fault in FAULTS if 2 in fault.depths]
DEEP = [fault for fault in FAULTS if 10 in fault.depths]


@pytest.fixture(scope="module")
def data():
    return examples()


def planted(fault, network, layer="hidden.1", seed=0):
    return Trial(fault, network, fault.layer if fault.layer != "hidden" else layer, seed)


def found(trial, data):
    report = diagnose(trial.network, spoilt(trial), *data)
    assert shortcoming(trial, report) == "", str(trial)
    return report


@pytest.mark.parametrize("fault", SHALLOW, ids=lambda fault: fault.name)
def test_a_fault_is_found_in_its_layer(fault, data):
    network = CharacterMLP(27, hidden=(WIDTH,) * 2, activation="relu")
    for layer in ("hidden.0", "hidden.1"):
        found(planted(fault, network, layer), data)


@pytest.mark.parametrize("fault", DEEP, ids=lambda fault: fault.name)
def test_a_fault_of_depth_is_found(fault, data):
    activation = "selu" if "selu" in fault.activations else "tanh"
    network = CharacterMLP(27, hidden=(WIDTH,) * 10, activation=activation)
    found(planted(fault, network, "hidden.6"), data)


@pytest.mark.parametrize("name", OTHERS)
def test_a_fault_that_is_not_of_parameters_is_found(name):
    assert OTHERS[name](32) == ""


def test_without_a_fault_nothing_is_found(data):
    network = CharacterMLP(27, hidden=(WIDTH,) * 2, activation="relu")
    trial = planted(planted_faults.Fault("none", planted_faults.nothing), network)
    report = diagnose(network, spoilt(trial), *data)
    assert report.verdict == "good"
    assert report.prescriptions == ()
    assert shortcoming(trial, report) == "missed"


def test_the_command_plants_each_fault_at_each_width():
    planted = {(trial.fault.name, trial.network.hidden[0]) for trial in trials(seeds=1)}
    assert planted == {(fault.name, width) for fault in FAULTS for width in (32, 64, 128, 256, 512)}
