"""The lab: the lesson on initialisation as a live page, and what it draws with.

`fanin lab` serves it. In a marimo notebook of one's own, the widgets (`LiveTraining`, `LiveRace`,
`Chart`, `Letters`, `SaturationMap`) work like any other. Needs the extra `fanin[lab]`.
"""

from fanin.lab.code import code
from fanin.lab.deep import (
    DeepSignals,
    expected_correlations,
    expected_signals,
    measured_signals,
)
from fanin.lab.deep_pictures import DepthPictures, by_layer
from fanin.lab.formula import activation_of_formula
from fanin.lab.layout import columns, complaint, controls, figure, result, stack, table, wide
from fanin.lab.pictures import Chart, Letters, SaturationMap, bars, categories, dots, line
from fanin.lab.racing import LiveRace
from fanin.lab.seeds import seed_field, seed_of
from fanin.lab.showing import (
    different_units,
    gains_of,
    let_through,
    names,
    output_histogram,
    show_units,
)
from fanin.lab.starting import scaled, started, with_equal_units
from fanin.lab.training import LiveTraining
from fanin.lab.within import Within, within
from fanin.lab.wording import literal, said, uploaded_words

__all__ = [
    "Chart",
    "DeepSignals",
    "DepthPictures",
    "Letters",
    "LiveRace",
    "LiveTraining",
    "SaturationMap",
    "Within",
    "activation_of_formula",
    "bars",
    "by_layer",
    "categories",
    "code",
    "columns",
    "complaint",
    "controls",
    "different_units",
    "dots",
    "expected_correlations",
    "expected_signals",
    "figure",
    "gains_of",
    "let_through",
    "line",
    "literal",
    "measured_signals",
    "names",
    "output_histogram",
    "result",
    "said",
    "scaled",
    "seed_field",
    "seed_of",
    "show_units",
    "stack",
    "started",
    "table",
    "uploaded_words",
    "wide",
    "with_equal_units",
    "within",
]
