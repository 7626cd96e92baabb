"""The layered layout of graphs: every node below its parents, nothing on top of another."""

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.autograd.layout import layered_layout

GAP = 10.0


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 14))
    parents = [
        tuple(draw(st.lists(st.integers(0, node - 1), max_size=3))) if node else ()
        for node in range(count)
    ]
    return parents, draw(st.lists(st.floats(10, 200), min_size=count, max_size=count))


@settings(max_examples=60)
@given(graphs())
def test_children_stand_below_their_parents_and_beside_nothing_they_cover(graph):
    parents, widths = graph
    layout = layered_layout(parents, widths, GAP)
    for child, above in enumerate(parents):
        for parent in above:
            assert layout.layers[parent] < layout.layers[child]
    for a, b in combinations(range(len(parents)), 2):
        if layout.layers[a] == layout.layers[b]:
            apart = abs(layout.x[a] - layout.x[b])
            assert apart >= (widths[a] + widths[b]) / 2 + GAP - 1e-6


@settings(max_examples=60)
@given(graphs())
def test_edges_bend_once_in_each_layer_that_they_pass_and_around_its_nodes(graph):
    parents, widths = graph
    layout = layered_layout(parents, widths, GAP)
    for node, bends in enumerate(layout.bends):
        children = [c for c, above in enumerate(parents) if node in above]
        lowest = max((layout.layers[c] for c in children), default=layout.layers[node] + 1)
        assert len(bends) == lowest - layout.layers[node] - 1
        for layer, x in enumerate(bends, layout.layers[node] + 1):
            for other, its_layer in enumerate(layout.layers):
                if its_layer == layer:
                    assert abs(x - layout.x[other]) >= widths[other] / 2


def test_a_chain_is_a_straight_line():
    layout = layered_layout([(), (0,), (1,), (2,)], [10.0, 90.0, 30.0, 50.0], GAP)
    assert layout.layers == [0, 1, 2, 3]
    assert len(set(layout.x)) == 1


def test_a_leaf_stands_just_above_its_first_use():
    # A chain of three, and a leaf that only the last of them reads.
    layout = layered_layout([(), (0,), (1,), (), (2, 3)], [10.0] * 5, GAP)
    assert layout.layers == [0, 1, 2, 2, 3]


def test_a_network_has_a_spine():
    # x and what is looked up with it, then three layers of a weight and a bias each.
    parents, spine = [(), (0,)], [1]
    for _ in range(3):
        weight = len(parents)
        parents += [(), (), (spine[-1], weight, weight + 1)]
        spine.append(weight + 2)
    layout = layered_layout(parents, [100.0] * len(parents), GAP)
    steps = [abs(layout.x[a] - layout.x[b]) for a, b in pairwise(spine)]
    assert max(steps) < 50, "less than half a box aside"


def test_edges_that_need_not_cross_do_not():
    # Two pairs whose leaves come in the other order.
    layout = layered_layout([(), (), (1,), (0,), (2, 3)], [10.0] * 5, GAP)
    assert (layout.x[0] < layout.x[1]) == (layout.x[3] < layout.x[2])
