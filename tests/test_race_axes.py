import pytest

from fanin.errors import OptionError
from fanin.networks import Bigram, CharacterMLP
from fanin.race import AXES, Lane, with_axis
from fanin.race.lanes import Run, grouped
from fanin.starts import find_start
from fanin.training import TrainingOptions

NETWORK = CharacterMLP(27, hidden=(20,))
LANE = Lane("fanin", NETWORK, find_start("fanin"), TrainingOptions(steps=10))


def varied(axis, *values, lane=LANE):
    return with_axis([lane], axis, values)


def test_lanes_are_named_by_what_they_vary_in():
    names = [lane.name for lane in with_axis(varied("lr", "0.1", "0.3"), "depth", ["1", "2"])]
    expected = ["fanin lr=0.1 depth=1", "fanin lr=0.1 depth=2"]
    assert names == [*expected, "fanin lr=0.3 depth=1", "fanin lr=0.3 depth=2"]
    names = [lane.name for lane in varied("normalisation", "none", "batch")]
    assert names == ["fanin normalisation=none", "fanin normalisation=batch"]


@pytest.mark.parametrize(
    ("axis", "value", "found"),
    [
        ("start", "normal", lambda lane: lane.start.name == "normal"),
        ("gain", "1.5", lambda lane: lane.start == find_start("fanin:gain=1.5")),
        ("output", "0.5", lambda lane: lane.start == find_start("fanin:output=0.5")),
        ("mode", "fan_out", lambda lane: lane.start == find_start("fanin:mode=fan_out")),
        ("bias", "0.2", lambda lane: lane.start == find_start("fanin:bias=0.2")),
        ("bias_variance", "0.2", lambda lane: lane.start == find_start("fanin:bias_variance=0.2")),
        ("lr", "0.2", lambda lane: lane.options.rate == 0.2),
        ("optimiser", "adam", lambda lane: lane.options.rate == 0.001),
        ("momentum", "0.9", lambda lane: lane.options.momentum == 0.9),
        ("weight_decay", "0.1", lambda lane: lane.options.weight_decay == 0.1),
        ("schedule", "cosine", lambda lane: lane.options.schedule == "cosine"),
        ("warm_up", "5", lambda lane: lane.options.warm_up == 5),
        ("batch", "8", lambda lane: lane.options.batch == 8),
        ("activation", "relu", lambda lane: lane.network.activation == "relu"),
        ("normalisation", "layer", lambda lane: lane.network.normalisation == "layer"),
        ("normalisation", "none", lambda lane: lane.network.normalisation is None),
        ("depth", "3", lambda lane: lane.network.hidden == (20, 20, 20)),
        ("width", "7", lambda lane: lane.network.hidden == (7,)),
        ("embedding", "4", lambda lane: lane.network.embedding == 4),
    ],
)
def test_every_axis_changes_its_own_thing(axis, value, found):
    (lane,) = varied(axis, value)
    assert found(lane)


def test_an_option_of_a_start_joins_those_it_has_and_replaces_its_own():
    lane = Lane("a", NETWORK, find_start("fanin:gain=2,output=0.5"), LANE.options)
    assert varied("gain", 1.0, lane=lane)[0].start == find_start("fanin:gain=1,output=0.5")


@pytest.mark.parametrize(
    ("axis", "value", "message"),
    [
        ("lrr", "1", "is not known; did you mean lr[?] There are start, gain"),
        ("fish", "1", "is not known; there are start, gain"),
        ("lr", "fast", "the axis lr takes numbers; found 'fast'"),
        ("lr", "-1", "the axis lr=-1.0 of fanin: lr must be a positive"),
        ("depth", "0", "whole numbers from 1 up"),
        ("start", "fannin", "did you mean fanin"),
        ("activation", "fish", "activation=fish"),
        ("momentum", "2", "momentum must be"),
    ],
)
def test_an_axis_that_cannot_be_names_itself(axis, value, message):
    with pytest.raises(OptionError, match=message):
        varied(axis, value)


def test_sizes_are_no_axis_where_there_are_none():
    with pytest.raises(OptionError, match="no values"):
        with_axis([LANE], "lr", [])
    with pytest.raises(OptionError, match="not of a Bigram"):
        varied("depth", "2", lane=Lane("b", Bigram(27), LANE.start, LANE.options))
    two = Lane("c", CharacterMLP(27, hidden=(3, 4)), LANE.start, LANE.options)
    with pytest.raises(OptionError, match="one size"):
        varied("depth", "2", lane=two)


def test_only_what_changes_the_program_is_a_group_of_its_own():
    lanes = with_axis(with_axis(varied("lr", 0.1, 0.2), "width", [5, 6]), "start", ["normal"])
    groups = grouped(lanes, [Run(place, seed) for place in range(4) for seed in range(2)])
    assert [len(runs) for runs in groups.values()] == [4, 4]
    assert set(AXES) >= {"start", "gain", "lr", "activation", "depth", "width", "normalisation"}
