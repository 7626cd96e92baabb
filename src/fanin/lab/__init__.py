"""The lab: the lesson on initialisation as a live page, and what it draws with.

`fanin lab` serves it. In a marimo notebook of one's own, the widgets (`LiveTraining`, `LiveRace`,
`Chart`, `Letters`, `SaturationMap`) work like any other. Needs the extra `fanin[lab]`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanin.lab.deep import (
        DeepSignals,
        expected_correlations,
        expected_signals,
        measured_signals,
    )
    from fanin.lab.deep_pictures import DepthPictures, by_layer
    from fanin.lab.formula import activation_of_formula
    from fanin.lab.layout import (
        columns,
        complaint,
        controls,
        figure,
        result,
        say,
        stack,
        table,
        wide,
    )
    from fanin.lab.listing import code
    from fanin.lab.one_pass import Within, within
    from fanin.lab.pictures import Chart, Letters, SaturationMap, bars, categories, dots, line
    from fanin.lab.racing import LiveRace
    from fanin.lab.seeds import seed_field, seed_of
    from fanin.lab.showing import (
        different_units,
        gains_of,
        let_through,
        names,
        output_histogram,
        show_output_histograms,
        show_units,
        small,
    )
    from fanin.lab.starting import scaled, started, with_equal_units
    from fanin.lab.training import LiveTraining
    from fanin.lab.wording import literal, said, uploaded_words

# Loaded one by one when asked for: the page listens, and begins, before JAX is there.
_HOMES = {
    "deep": ("DeepSignals", "expected_correlations", "expected_signals", "measured_signals"),
    "deep_pictures": ("DepthPictures", "by_layer"),
    "formula": ("activation_of_formula",),
    "layout": (
        "columns",
        "complaint",
        "controls",
        "figure",
        "result",
        "stack",
        "table",
        "wide",
        "say",
    ),
    "listing": ("code",),
    "one_pass": ("Within", "within"),
    "pictures": ("Chart", "Letters", "SaturationMap", "bars", "categories", "dots", "line"),
    "racing": ("LiveRace",),
    "seeds": ("seed_field", "seed_of"),
    "showing": (
        "different_units",
        "gains_of",
        "let_through",
        "names",
        "output_histogram",
        "show_output_histograms",
        "show_units",
        "small",
    ),
    "starting": ("scaled", "started", "with_equal_units"),
    "training": ("LiveTraining",),
    "wording": ("literal", "said", "uploaded_words"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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
    "say",
    "scaled",
    "seed_field",
    "seed_of",
    "show_output_histograms",
    "show_units",
    "small",
    "stack",
    "started",
    "table",
    "uploaded_words",
    "wide",
    "with_equal_units",
    "within",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"fanin.lab has no name {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"fanin.lab.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
