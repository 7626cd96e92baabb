"""Makes docs/maps.md and its pictures: `python scripts/maps_page.py`, some minutes on two cores.

With a folder as its argument each map's record is kept there, and a page that was stopped goes on.
"""

import sys
from pathlib import Path

from fanin.corpus import Corpus, bundled_names
from fanin.map import Agreement, Map, MapResults, explore, read_axis
from fanin.pictures.figures import write_figure
from fanin.pictures.map_figure import map_figure
from fanin.race.machine import this_machine

DOCS = Path(__file__).parents[1] / "docs"
DEPTHS = "depth=1:40:10"
PLAIN = {"sigmoid": "gain=1:12:12"}
GAINS = "gain=0.4:4:13"
RESIDUAL = "gain=0.05:3:12:log"

LESSONS = {
    ("tanh", False): "There is a ridge at the critical gain, near 1.3 for biases of variance 0.05, "
    "and the boundary falls on both sides of it as ξ_∇ does: on the left examples become one and "
    "gradients vanish, on the right gradients explode.",
    ("tanh", True): "Residual sums open all ten depths, up to forty layers, to nearly a decade of "
    "gains; what is lost is lost at large gains in deep networks, and to near-idle layers at small "
    "ones.",
    ("relu", False): "The ridge is thin and stands at √2's left shoulder: above it second moments "
    "grow without bound, the loss stops being a number (theory gives no scale there, so that the "
    "correlation is over few gains and says little), and below it gradients vanish.",
    ("relu", True): "With sums the gain must fall with depth: each layer multiplies the moment, "
    "and the edge of divergence runs from 3 at one layer to 0.5 at thirty.",
    ("gelu", False): "Beyond a gain of about 1.5 the fixed point is unstable or none is there; "
    "networks of five layers already diverge from 2.5 on, and the window that is left, 1.3 to 1.6, "
    "closes by fifteen layers.",
    ("gelu", True): "The same edge as relu's: a residual network of gelu wants a gain near 0.4, "
    "well below the one that keeps moments without sums.",
    (
        "silu",
        False,
    ): "As gelu and a little deeper: at a gain of 1.6 fourteen layers learn half, "
    "and no network of eighteen does, at any gain tried.",
    (
        "silu",
        True,
    ): "With sums all ten depths, up to forty layers, learn half at a gain of about "
    "0.3, and the edge of divergence is that of relu and gelu.",
    ("sigmoid", False): "Hardly anything but one layer learns in 300 steps: its slope is at most a "
    "quarter, so theory's critical gain is about 10 where tanh's is 1.3, and the little that deep "
    "networks do learn is learnt there.",
    ("sigmoid", True): "The sum passes the gradient by, so depth makes next to no difference; the "
    "gain does, as it says how much a layer sees of what is below it.",
}
"""What each map teaches, as seen in it."""

INTRODUCTION = """# The map of trainability

Where can a network be trained? Every cell of these maps is a network of its own: the language
model on the bundled names with so many hidden layers of 100 units, started with one gain (the
weights' standard deviation times √fan-in, in all hidden layers alike) and biases of variance 0.05,
then trained 300 steps of 32 examples at a rate of 0.1. All cells have the same draws and batches.

The colour is the share learnt, on 1,024 dev examples: 0 is the loss of a guess by the symbols'
frequencies, for which a network need not look at its context at all, 1 that of a guess by the
frequencies after the last symbol. White is where half is learnt. Over it stand the depth scales of
mean-field theory (Schoenholz et al. 2017, *Deep Information Propagation*), which know nothing of
the training: ξ_c, the layers over which the correlation of two examples settles, and ξ_∇ =
1/|log χ|, those over which a gradient changes by a factor of e; once, and six times, which is how
far networks trained in figure 5 of that paper. For residual sums, and for activations whose second
moment does not settle, theory gives no such scale, and none is drawn.

    python scripts/maps_page.py

makes this page and its pictures. One map alone, finer than here:

    fanin map --activation tanh --x gain=0.2:4:40 --y depth=1:60:40 --plot map.svg --out folder

Its 1,600 cells, 14.6 million steps of a layer, took 4 min 9 s on two cores of an Intel Xeon; 4 min
43 s and 5 min 11 s while that host was busy with other work. It begins coarse and becomes finer,
and a map that was stopped goes on from its folder. `fanin map --measure gradient-ratio` (or
`saturation`, `correlation`) paints step 0 without any training, in seconds. A cell's numbers do
not depend on which other cells the map has.
"""

READING = """\
Half learnt in: the share of a map's cells. Deepest: the most layers that learn half at any gain,
and beside it the best gain there. The ranks are Spearman's correlations, over the gains at which
theory gives a scale, of that scale with the boundary: the depth where the share learnt falls
below a half, on a straight line between the two depths tried around it. What lies beyond the map's
deepest networks counts as equal. Four gains in order come by chance once in 24 times: the 1.00 of
relu, gelu and silu says little. Sigmoid's boundary never lies deeper than between one layer and
five, the first two depths tried, so its rank is one of interpolated numbers.
"""


def main() -> None:
    records = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    corpus = Corpus.of(bundled_names())
    parts = [INTRODUCTION]
    (DOCS / "maps").mkdir(exist_ok=True)
    table = [
        "| activation | residual | half learnt in | deepest | gain there | rank, ξ_c | rank, ξ_∇ |",
        "|---|---|---|---|---|---|---|",
    ]
    for activation in ("tanh", "relu", "gelu", "silu", "sigmoid"):
        for residual in (False, True):
            gains = RESIDUAL if residual else PLAIN.get(activation, GAINS)
            name = f"{activation}-residual" if residual else activation
            plan = Map(
                read_axis(gains),
                read_axis(DEPTHS),
                corpus,
                activation=activation,
                residual=residual,
            )
            results = MapResults(plan)
            for cell in explore(plan, None if records is None else records / name):
                results.add(cell)
            write_figure(map_figure(results), DOCS / "maps" / f"{name}.png", salt=name)
            table.append(row(activation, residual, results))
            title = f"{activation}, {'with' if residual else 'without'} residual sums"
            lesson = LESSONS.get((activation, residual), "")
            parts.append(f"## {title}\n\n{lesson}\n\n![Map of {title}.](maps/{name}.png)\n")
            print(table[-1], file=sys.stderr, flush=True)
    machine = this_machine()
    parts.insert(1, "\n".join(["## All ten", "", *table, "", READING]))
    parts.append(f"Made on: {machine.cpu}, {machine.cores} cores, JAX {machine.versions['jax']}.\n")
    (DOCS / "maps.md").write_text("\n".join(parts), encoding="utf-8")


def row(activation: str, residual: bool, results: MapResults) -> str:
    """A map in figures."""
    half = results.values >= 0.5
    deep = [int(place) for place, any_ in enumerate(half.any(axis=1)) if any_]
    depth, gain = "–", "–"
    if deep:
        depth = f"{results.plan.y.values[deep[-1]]:g}"
        gain = f"{results.plan.x.values[int(results.values[deep[-1]].argmax())]:.3g}"
    agreement = results.agreement()
    ranks = [number(agreement.get(name)) for name in ("xi_c", "xi_grad")]
    cells = [activation, "yes" if residual else "no", f"{half.mean():.0%}", depth, gain, *ranks]
    return f"| {' | '.join(cells)} |"


def number(agreement: Agreement | None) -> str:
    if agreement is None or agreement.rank is None:
        return "–"
    return f"{agreement.rank:.2f} ({agreement.columns} gains)"


if __name__ == "__main__":
    main()
