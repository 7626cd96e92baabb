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
from fanin.lab.formula import activation_of_formula
from fanin.lab.layout import columns, complaint, controls, figure, table, wide
from fanin.lab.pictures import Chart, Letters, SaturationMap, bars, categories, dots, line
from fanin.lab.racing import LiveRace
from fanin.lab.training import LiveTraining
from fanin.lab.within import Within, within
from fanin.lab.wording import said, uploaded_words

__all__ = [
    "Chart",
    "DeepSignals",
    "Letters",
    "LiveRace",
    "LiveTraining",
    "SaturationMap",
    "Within",
    "activation_of_formula",
    "bars",
    "categories",
    "code",
    "columns",
    "complaint",
    "controls",
    "dots",
    "expected_correlations",
    "expected_signals",
    "figure",
    "line",
    "measured_signals",
    "said",
    "table",
    "uploaded_words",
    "wide",
    "within",
]


def warm_up() -> None:
    """Load and compile what the lesson begins with, so that its first reader need not wait."""
    import fanin

    options = fanin.TrainingOptions(schedule="constant")
    sizes = {"embedding": 3, "block": 4, "hidden": (100,)}
    run = fanin.prepare(start="normal", options=options, **sizes)
    within(
        run.network,
        run.state.parameters,
        run.corpus.train.contexts[:1024],
        run.corpus.train.targets[:1024],
    )
