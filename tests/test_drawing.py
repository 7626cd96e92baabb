"""`loss.graph()`: the nodes as text and as a picture."""

from xml.etree import ElementTree as ET

import jax
import numpy as np
import pytest

from fanin.autograd import Value
from fanin.errors import OptionError

SVG = "{http://www.w3.org/2000/svg}"


def network():
    rng = np.random.default_rng(0)
    table = Value(rng.normal(size=(27, 3)), name="embedding")
    weight = Value(rng.normal(size=(12, 5)), name="weight")
    x = table.gather(np.zeros((32, 4), np.uint8)).reshape(lambda shape: (shape[0], -1))
    hidden = x.matmul_bias(weight).tanh()
    hidden.name = "hidden"
    loss = hidden.softmax_cross_entropy(np.zeros(32, int)) + 0.5 * (weight**2).sum(axis=(0, 1))
    loss.name = "loss"
    return loss, table, weight


def test_text_has_every_node_with_operation_shape_and_name():
    lines = [line.split("  ") for line in str(network()[0].graph()).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0].pop() == "data", "leaves have theirs before anything is computed"
    assert "±" in cells[1].pop() + cells[4].pop()
    assert repr(network()[0].graph()) == str(network()[0].graph())
    assert cells == [
        ["name", "made by", "type and shape"],
        ["#0", "embedding", "float32[27, 3]"],
        ["#1", "gather", "gather(#0, uint8[32, 4])", "float32[32, 4, 3]"],
        ["#2", "reshape", "reshape(#1, 32, -1)", "float32[32, 12]"],
        ["#3", "weight", "float32[12, 5]"],
        ["#4", "matmul_bias", "matmul_bias(#2, #3)", "float32[32, 5]"],
        ["#5", "hidden", "tanh(#4)", "float32[32, 5]"],
        ["#6", "softmax_cross_entropy", "softmax_cross_entropy(#5, int32[32])", "float32[]"],
        ["#7", "power", "power(#3, 2)", "float32[12, 5]"],
        ["#8", "sum", "sum(#7, (0, 1))", "float32[]"],
        ["#9", "multiply", "multiply(#8, 0.5)", "float32[]"],
        ["#10", "loss", "add(#6, #9)", "float32[]"],
    ]


def test_moments_are_shown_once_there_are_numbers():
    loss, table, _ = network()
    before = loss.graph()
    assert before.nodes[1].data is None
    assert before.nodes[0].data is not None, "a leaf has its numbers"
    loss.backward()
    graph = loss.graph()
    for node in graph.nodes:
        assert node.data is not None
        assert node.gradient is not None
    mean, std = graph.nodes[0].data
    assert (mean, std) == (np.mean(np.float64(table.data)), np.std(np.float64(table.data)))
    assert f"{mean:.3g} ± {std:.3g}" in str(graph)
    assert f"data {mean:.3g} ± {std:.3g}" in graph.svg()
    assert graph.nodes[-1].data.std is None
    assert f"data {loss.data:.3g}<" in graph.svg()


def test_what_is_not_finite_shows_as_such():
    x = Value([1.0, np.inf, 0.0]).forward()
    assert "inf ± nan" in x.graph().svg()


def read(svg):
    root = ET.fromstring(svg)
    boxes = [
        tuple(float(rect.get(k)) for k in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
    ]
    return root, boxes


def test_the_picture_shows_every_box_whole_and_apart():
    svg = network()[0].backward().graph().svg()
    root, boxes = read(svg)
    left, top, width, height = map(float, root.get("viewBox").split())
    assert len(boxes) == 11
    for x, y, w, h in boxes:
        assert left <= x
        assert x + w <= left + width
        assert top <= y
        assert y + h <= top + height
    for i, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[:i]:
            beside = x + w < other_x or other_x + other_w < x
            assert beside or y + h < other_y or other_y + other_h < y


def test_edges_lead_from_the_foot_of_a_box_to_the_head_of_another():
    root, boxes = read(network()[0].graph().svg())
    lines = [path.get("d") for path in root.iter(f"{SVG}path") if "C" in path.get("d")]
    assert len(lines) == 11  # loss: 2 parents, matmul_bias: 2, seven others: 1
    feet = {(round(x + w / 2), round(y + h)) for x, y, w, h in boxes}
    heads = {(round(x + w / 2), round(y)) for x, y, w, _ in boxes}
    for line in lines:
        x, y = line[1:].split("C")[0].split()
        assert any(abs(float(x) - a) <= 1 and abs(float(y) - b) <= 1 for a, b in feet)
    tips = [path.get("d") for path in root.iter(f"{SVG}path") if "z" in path.get("d")]
    assert len(tips) == len(lines)
    for tip in tips:
        x, y = tip[1:].split("l")[0].split()
        assert any(abs(float(x) - a) <= 1 and abs(float(y) - b) <= 1 for a, b in heads)


def test_names_cannot_break_the_picture():
    hostile = "</text><script>alert('&\"')</script>\x00\x1f\ud800"
    root, _ = read(Value(1.0, name=hostile).graph().svg())
    assert not list(root.iter(f"{SVG}script"))
    assert "</text><script>alert" in "".join(root.itertext())


def test_long_names_are_cut_and_kept_in_the_tip():
    root, (box,) = read(Value(1.0, name="w" * 500).graph().svg())
    assert box[2] < 400
    assert "w" * 500 in [title.text.split("\n")[0] for title in root.iter(f"{SVG}title")]


def test_the_picture_has_the_colour_of_the_text_around_it():
    svg = network()[0].graph().svg()
    assert "currentColor" in svg
    assert "#" not in svg
    assert network()[0].graph()._repr_html_().startswith("<svg ")


def test_the_same_graph_gives_the_same_picture():
    assert network()[0].graph().svg() == network()[0].graph().svg()


def test_a_graph_too_large_to_draw_is_listed():
    root = x = Value(1.0)
    for _ in range(1001):
        root = root + x
    with pytest.raises(OptionError, match="at most 1000 nodes; this graph has 1002"):
        root.graph().svg()
    assert root.graph()._repr_html_().startswith("<pre>")


def test_inside_jit_there_are_shapes_and_no_moments():
    texts = []

    @jax.jit
    def traced(array):
        x = Value(array)
        loss = (x * array).sum().backward()
        texts.append((str(loss.graph()), loss.graph().svg()))
        return loss.data

    traced(np.ones(3))
    assert "float32[3]" in texts[0][0]
    assert "±" not in "".join(texts[0])


def test_the_boxes_have_the_times_of_a_profile():
    x = Value([1.0, 2.0], name="x")
    y = x.tanh().sum()
    profile = y.profile(rounds=1)
    boxes = [node.lines for node in y.graph(profile).nodes]
    assert [lines[-1].startswith("time ") for lines in boxes] == [False, True, True]
    with pytest.raises(OptionError, match="another graph: it times 2 operations, and here are 1"):
        x.tanh().graph(profile)
