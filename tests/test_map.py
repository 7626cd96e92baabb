"""The map of trainability: its cells, its record, and what theory says beside it."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fanin.corpus import Corpus, Words
from fanin.errors import OptionError
from fanin.map import (
    Cell,
    Map,
    MapAxis,
    MapCell,
    MapResults,
    between,
    explore,
    read_axis,
    scales,
)
from fanin.map.deep import DeepNetwork, Depth, room, train_step
from fanin.map.order import levels
from fanin.networks import CharacterMLP
from fanin.pictures.map_figure import map_figure
from fanin.pictures.map_progress import MapDisplay
from fanin.race.record import RecordError
from fanin.theory import NoTheory, depth_scales, find_nonlinearity
from fanin.training.step import loss_and_gradient

NAMES = tuple(a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie"))


@pytest.fixture(scope="module")
def corpus():
    return Corpus.of(Words(NAMES, "names", 0), block=2)


@pytest.fixture(scope="module")
def plan(corpus):
    return Map(
        read_axis("gain=0.5:2.5:3"),
        read_axis("depth=1:4:3"),
        corpus,
        Cell(width=6),
        embedding=3,
        steps=12,
        batch=8,
    )


@pytest.fixture(scope="module")
def cells(plan):
    return list(explore(plan))


def test_an_axis_is_start_stop_count_and_perhaps_log():
    assert read_axis("gain=0.5:1.5:3").values == (0.5, 1.0, 1.5)
    assert read_axis("lr=0.01:1:3:log").values == (0.01, 0.1, 1.0)
    assert read_axis("depth=1:60:40").values[:4] == (1, 3, 4, 6)
    assert read_axis("sigma_w=1:2:2").setting == "gain"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gian=0.2:4:40", "did you mean gain"),
        ("gain=0.2:4", "START:STOP:COUNT"),
        ("gain=4:0.2:3", "start must be below"),
        ("gain=a:b:3", "are numbers"),
        ("gain=-1:1:3", "above 0"),
        ("gain=0:1:3:log", "starts above 0"),
        ("gain=1:2:3:cubic", "log or linear"),
        ("depth=1:3:9", "no two may be equal"),
        ("depth=0:3:4", "from 1"),
        ("lr=1:inf:4", "below the stop"),
        ("lr=1:2:1", "count is from 2"),
    ],
)
def test_what_makes_no_axis_is_told(text, message):
    with pytest.raises(OptionError, match=message):
        read_axis(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": MapAxis("sigma_w", (1.0, 2.0))}, "two different"),
        ({"measure": "saturated"}, "did you mean saturation"),
        ({"activation": "tanj"}, "did you mean tanh"),
        ({"activation": "numpy:tanh"}, "cannot be traced by JAX"),
        ({"batch": 1}, "batch must be 2 or more"),
        (
            {"measure": "saturation", "y": MapAxis("lr", (0.1, 1.0))},
            "changes nothing of saturation",
        ),
        ({"seed": -1}, "a seed is from 0"),
    ],
)
def test_what_makes_no_map_is_told(plan, changes, message):
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(plan, **changes)


@pytest.mark.parametrize(
    ("activation", "normalisation", "residual"),
    [("tanh", None, False), ("gelu", "layer", True), ("relu", "batch", False)],
)
@pytest.mark.parametrize("most", [None, 6])
def test_a_step_is_that_of_the_network_made_layer_by_layer(
    corpus, activation, normalisation, residual, most
):
    """The stack with a loop over the depth learns as CharacterMLP does, in a stack of any size.

    So does one whose loop goes over layers that the network has not.
    """
    depth, width = 3, 5
    network = DeepNetwork(len(corpus.vocabulary), 2, 3, width, activation, normalisation, residual)
    gain, sigma_b = jnp.float32(1.3), jnp.float32(0.2)
    # Compiled whole: operation by operation that takes longer than all else here.
    begin = jax.jit(lambda key: network.start(network.draw(key, 6), gain, sigma_b))
    started = begin(jax.random.key(3))
    own = CharacterMLP(
        len(corpus.vocabulary), 2, 3, (width,) * depth, activation, normalisation, residual
    )

    def named(p):
        stack = p["layers"]
        found = {"embedding.weight": p["embedding"]}
        for name in ("weight", "bias"):
            found[f"output.{name}"] = p["output"][name]
        for layer in range(depth):
            found[f"hidden.{layer}.bias"] = stack["bias"][layer]
            before = stack["weight"][(layer - 1) * width : layer * width]
            found[f"hidden.{layer}.weight"] = before if layer else p["first"]
        # In a residual network the normalisation before a layer bears that layer's name.
        for layer in range(depth) if normalisation else ():
            if not residual:
                name = f"hidden.{layer}"
            else:
                name = f"hidden.{layer + 1}" if layer < depth - 1 else "output"
            found[f"{name}.normalisation.gain"] = stack["gain"][layer]
            found[f"{name}.normalisation.bias"] = stack["shift"][layer]
        return {name: found[name] for name in (parameter.name for parameter in own.parameters)}

    contexts = jnp.asarray(corpus.train.contexts[:16].astype(np.int32))
    targets = jnp.asarray(corpus.train.targets[:16].astype(np.int32))
    kept = room(network, started["layers"]["bias"].shape[0], 16)
    layers = Depth(depth, most)
    after, loss, _ = jax.jit(
        lambda p: train_step(network, p, contexts, targets, layers, 0.5, kept)
    )(started)
    expected, gradient, _ = jax.jit(lambda p: loss_and_gradient(own, p, contexts, targets))(
        named(started)
    )
    assert loss == pytest.approx(float(expected), rel=1e-5)
    for name, value in named(after).items():
        wanted = named(started)[name] - 0.5 * gradient[name]
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=2e-6, err_msg=name)
    for part, unused in (("weight", slice(2 * width, None)), ("bias", slice(3, None))):
        np.testing.assert_array_equal(
            after["layers"][part][unused], started["layers"][part][unused], err_msg=part
        )


def test_a_map_has_every_cell_once_and_coarse_ones_first():
    order = list(levels(5, 9))
    flat = [cell for level in order for cell in level]
    assert sorted(flat) == [(row, column) for row in range(5) for column in range(9)]
    assert order[0] == [(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8)]
    # Levels that would leave devices idle come together with the next.
    fuller = list(levels(5, 9, least=10))
    assert [len(level) for level in fuller] == [len(order[0]) + len(order[1]), len(order[2])]
    assert [cell for level in fuller for cell in level] == flat
    assert [len(level) for level in levels(5, 9, least=100)] == [45]


def test_a_cells_numbers_are_the_same_in_other_company(plan, cells, corpus):
    other = dataclasses.replace(
        plan, x=MapAxis("gain", (1.5, 1.7)), y=MapAxis("depth", (2.0, 4.0, 9.0))
    )
    mine = {(plan.at(c.row, c.column)): c.numbers for c in cells}
    theirs = {(other.at(c.row, c.column)): c.numbers for c in explore(other)}
    shared = mine.keys() & theirs.keys()
    assert {cell.depth for cell in shared} == {2, 4}
    assert all(mine[cell] == theirs[cell] for cell in shared)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "relu", "normalisation": "batch"},
        {"activation": "gelu", "residual": True, "x": MapAxis("gain", (1.0, 1e3))},
        {"measure": "gradient-ratio"},
    ],
)
def test_cells_side_by_side_have_the_numbers_of_cells_alone(plan, monkeypatch, changes):
    """As on accelerators, where a device computes many at once."""
    plan = dataclasses.replace(plan, **changes)

    def numbers():
        found = sorted(explore(plan), key=lambda cell: (cell.row, cell.column))
        return np.array([cell.numbers for cell in found], float)

    alone = numbers()
    for module in ("crew", "course"):
        monkeypatch.setattr(f"fanin.map.{module}.tile_width", lambda: 4)
    np.testing.assert_allclose(numbers(), alone, rtol=1e-4, atol=1e-6)
    assert np.isnan(alone).any() == ("residual" in changes)


def test_cells_learn_and_one_that_diverges_is_painted_as_nothing_learnt(plan, cells):
    results = MapResults(plan)
    for cell in cells:
        results.add(cell)
    assert results.done.all()
    assert (results.numbers[0, :, 2] < results.numbers[0, :, 0]).all()
    results.add(MapCell(0, 0, (3.0, None, None)))
    assert results.values[0, 0] == 0
    huge = dataclasses.replace(plan, cell=Cell(width=6, lr=1e38), x=MapAxis("gain", (2.0,)))
    assert [cell.numbers[2] for cell in explore(huge)] == [None] * 3


def test_a_map_that_was_stopped_goes_on_and_gives_the_same(plan, cells, tmp_path):
    first = explore(plan, tmp_path)
    begun = [next(first) for _ in range(4)]
    first.close()
    path = tmp_path / "map.jsonl"
    # As a kill while the line was written, and one damaged line before it, would leave it.
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2].replace(b'"row":', b'"row" :')
    path.write_bytes(b"".join(lines) + b'{"line":6,"ev')
    again = list(explore(plan, tmp_path))
    assert again[:2] == begun[:2]
    by_place = {(cell.row, cell.column): cell for cell in again}
    assert by_place == {(cell.row, cell.column): cell for cell in cells}
    assert len(again) == len(cells)
    content = path.read_bytes()
    assert list(explore(plan, tmp_path)) == again
    assert path.read_bytes().startswith(content)
    with pytest.raises(RecordError, match="holds another map: seed was 0, and is now 1"):
        next(explore(dataclasses.replace(plan, seed=1), tmp_path))
    path.write_text("something else\n")
    with pytest.raises(RecordError, match="no record of a map"):
        next(explore(plan, tmp_path))


def test_a_map_that_does_not_fit_the_memory_is_refused(plan):
    huge = dataclasses.replace(
        plan, x=MapAxis("width", (10.0, 90_000.0)), y=MapAxis("depth", (1.0, 90_000.0))
    )
    with pytest.raises(OptionError, match=r"depth 90,000, width 90,000 and embedding"):
        next(explore(huge))
    for settings, complaint in (
        ({"embedding": 10**30}, "embedding 1,000"),
        ({"batch": 10**30}, "in batches of 1,000"),
        ({"steps": 10**30}, "the batches of 1,000"),
    ):
        with pytest.raises(OptionError, match=complaint):
            next(explore(dataclasses.replace(plan, **settings)))


def test_step_0_is_what_theory_expects(corpus):
    """At width 100: χ to the power of the layers between, examples that become one or part."""
    plan = Map(
        MapAxis("gain", (0.9, 2.5)), MapAxis("depth", (30.0,)), corpus, measure="gradient-ratio"
    )
    results = MapResults(plan)
    for cell in explore(plan):
        results.add(cell)
    for column, gain in enumerate(plan.x.values):
        theory = depth_scales(find_nonlinearity("tanh"), gain**2, plan.cell.sigma_b**2)
        expected = 29 / 2 * np.log10(theory.chi)
        assert results.values[0, column] == pytest.approx(expected, rel=0.15)
    _, saturated, correlation = results.numbers[0].T
    assert correlation[0] > 0.99
    assert correlation[1] < 0.3
    assert saturated[0] == 0
    assert 0.2 < saturated[1] < 0.6


def test_a_map_can_be_drawn_where_theory_says_nothing(corpus):
    plan = Map(read_axis("gain=2:3:2"), read_axis("depth=1:2:2"), corpus, activation="relu")
    results = MapResults(plan)
    assert np.isnan(results.scales.xi_c).all()
    map_figure(results)  # a warning would be an error


def test_a_map_of_one_row_can_be_drawn_too(corpus):
    plan = Map(MapAxis("gain", (1.0, 2.0)), MapAxis("depth", (3.0,)), corpus)
    (painted,) = map_figure(MapResults(plan)).axes[0].collections
    assert painted.get_coordinates()[:, 0].tolist() == [[0.5, 2.5], [0.5, 3.5]]


def test_the_time_left_is_told_once_every_process_has_compiled(corpus, monkeypatch):
    results = MapResults(Map(read_axis("gain=1:2:10"), read_axis("depth=1:10:10"), corpus))
    display = MapDisplay(results)
    # The second process's first cell comes long after the first one's, then one a second.
    told = []
    for place in range(20):
        now = 1000.0 * (place > 0) + place
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        results.add(MapCell(place // 10, place % 10, (3.0, 3.0, 3.0)))
        display.update()
        told.append(display.text)
    assert "left" not in told[1]
    assert told[-1] == "20 of 100 cells · 1 min 20 s left"


def test_theorys_scales_stand_at_each_cell_or_it_says_why_not(plan):
    found = scales(plan)
    theory = depth_scales(find_nonlinearity("tanh"), 1.5**2, plan.cell.sigma_b**2)
    assert found.xi_c[:, 1].tolist() == [theory.xi_c] * 3
    assert found.xi_grad[0, 1] == pytest.approx(1 / abs(np.log(theory.chi)))
    assert between(plan).shape == (3, 13)
    wide = dataclasses.replace(plan, x=read_axis("gain=1:4:40"), y=read_axis("sigma_b=0:1:40"))
    assert between(wide).shape == (40, 40)
    without = scales(dataclasses.replace(plan, residual=True))
    assert isinstance(without, NoTheory)
    assert "residual" in without.reason


def test_the_boundary_is_found_and_goes_with_theory(corpus):
    """Painted by hand: cells learn all down to twice ξ_c and nothing below."""
    plan = Map(read_axis("gain=0.5:3:6"), read_axis("depth=1:20:20"), corpus)
    results = MapResults(plan)
    assert results.boundary() == ()
    xi = results.scales.xi_c[0]
    for row, depth in enumerate(plan.y.values):
        for column in range(6):
            loss = results.bigram if depth <= 2 * xi[column] else results.blind
            results.add(MapCell(row, column, (3.3, loss, loss)))
    points = results.boundary()
    kinds = {"before": 2 * xi < 1, "beyond": 2 * xi >= 20}
    for point, scale in zip(points, xi, strict=True):
        if point.found == "within":
            assert point.depth == pytest.approx(np.floor(2 * scale) + 0.5)
    for kind, wanted in kinds.items():
        assert [point.found == kind for point in points] == wanted.tolist()
    agreement = results.agreement()["xi_c"]
    assert agreement.rank > 0.9
    assert agreement.logarithms > 0.9
    assert agreement.columns == 6
    flat = dataclasses.replace(plan, normalisation="layer")
    assert MapResults(flat).agreement() == {}
