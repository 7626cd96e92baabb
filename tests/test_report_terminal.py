import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fanin.diagnosis.naming import layer_list
from fanin.diagnosis.recording import (
    Between,
    Layer,
    Loss,
    Moments,
    Parameter,
    Recording,
    Saturation,
)
from fanin.diagnosis.report import (
    Check,
    Choice,
    LayerPrediction,
    Prediction,
    Prescription,
    Report,
)
from fanin.pictures.report_rows import COLUMNS, FOLDED_BEYOND, folded, rows, totals
from fanin.pictures.report_terminal import print_report
from fanin.pictures.report_text import bounds, number, share

SNAPSHOT = Path(__file__).with_suffix(".txt")


def moments(std):
    return Moments(1000, 0.0, std, std**2, 3 * std, 1.0, 0.0)


def layer(name, place, *, role="hidden", std=1.0, saturated=0.05, dead=(), gradient=1e-3):
    """A layer as a recording has it, with numbers that differ from layer to layer."""
    weight = Parameter(
        f"{name}.weight", (30, 40), role, moments(0.1), moments(0.01), 0.1, -2.5 - place / 10
    )
    return Layer(
        name=name,
        kind="linear",
        role=role,
        reads=("",),
        units=40,
        weight=weight.name,
        weight_shape=(30, 40),
        fan_in=30,
        weight_std=0.1,
        gain=0.1 * 30**0.5,
        nonlinearity="tanh" if role == "hidden" else None,
        parameters=(weight,),
        preactivation=moments(2 * std),
        activation=moments(std),
        between=Between(0.01 * place, 0.2, 0.9),
        gradient=moments(gradient**0.5),
        saturation=Saturation(-2.1, 2.1, saturated / 2, saturated / 2),
        dead_units=dead,
    )


def prediction(name, std):
    none = Prediction(no_theory="for this test")
    return LayerPrediction(name, none, none, Prediction(std), none, none, none)


def check(name, verdict, layers=(), *, text="", value=None, low=None, high=None):
    return Check(name, verdict, value, None, low, high, tuple(layers), text, f"source of {name}")


def report(layers, checks=(), **more):
    loss = Loss("cross_entropy", 26.4, 27, 2.8, moments(13.0), 170.0, 1.0, 0.9)
    recording = Recording("fanin", "CharacterMLP (hidden 40)", 1024, tuple(layers), loss)
    predictions = tuple(prediction(each.name, 0.65) for each in layers)
    more = {"prescriptions": (), "expected_loss": 3.2958, **more}
    return Report(recording, predictions, tuple(checks), **more)


def small_report():
    layers = [
        layer("embedding", 1, role="embedding", std=1.02),
        layer("hidden.0", 2, std=0.926, saturated=0.714, dead=(3, 17), gradient=1.76),
        layer("hidden.1", 3, std=0.65, gradient=0.4),
        layer("output", 4, role="output", std=13.3, gradient=0.0645),
    ]
    told = (
        "The loss is 26.4, where a uniform guess has 3.296. The first steps will only unlearn it."
    )
    checks = [
        check("loss", "bad", ["output"], text=told, value=26.4, high=4.5),
        check("saturation", "bad", ["hidden.0"], text="71.4 % are saturated.", value=0.7, high=0.5),
        check(
            "gain", "suspect", ["hidden.1"], text="A gain of 5.5.", value=5.5, low=0.25, high=3.0
        ),
        check("finite", "good"),
        check("symmetry", "good"),
    ]
    code = 'parameters["hidden.0.weight"] = parameters["hidden.0.weight"] * 0.1817'
    made = Prescription(
        "hidden.0.weight", "hidden.0", "scale", 0.1817, (), "× 0.1817", code, "to 1", ("loss",)
    )
    way = Choice("critical", "the start critical", "start = 1", 0.2, 1.0, 0.9, "The edge of chaos.")
    return report(layers, checks, prescriptions=(made,), choices=(way,))


def shown(value, width=None, encoding="utf-8"):
    with tempfile.TemporaryFile("w+", encoding=encoding, errors="backslashreplace") as stream:
        print_report(value, stream, width=width)
        stream.seek(0)
        return [line.rstrip() for line in stream]


def table_of(lines):
    """The lines of the table of layers, its titles and totals among them."""
    rules = [place for place, line in enumerate(lines) if line.startswith("─")]
    return lines[rules[0] - 2 : rules[1] + 4]


# The whole.


def test_what_is_shown_is_what_was_agreed():
    # To renew it: write the lines to the file, and look at them.
    assert shown(small_report()) == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_verdicts_come_first_then_layers_then_what_to_do():
    lines = shown(small_report())
    places = [
        next(place for place, line in enumerate(lines) if text in line)
        for text in (
            "✗ bad: 2 bad",
            "✗ bad     loss",
            "! suspect gain",
            "✓ good    finite",
            "fan-in",
        )
    ]
    places += [next(p for p, line in enumerate(lines) if text in line) for text in ("1. hidden.0",)]
    assert places == sorted(places)


# The table.


def test_bad_layers_come_first_and_totals_last():
    found = rows(small_report())
    assert [row.verdict for row in found] == ["bad", "bad", "suspect", "good"]
    assert [row.place for row in found] == [2, 4, 3, 1]
    assert [row.name for row in found] == [
        f"{name}.weight" for name in ("hidden.0", "output", "hidden.1", "embedding")
    ]
    last = totals(small_report())
    assert last.name == "4 layers, 4,000 parameters"
    cells = dict(zip((column.title for column in COLUMNS), last.cells, strict=True))
    assert cells["dead units"] == "2"
    assert cells["grad² mean"] == "× 4.40"  # 1.76 at the first hidden layer, 0.4 at the last


def test_a_row_has_the_numbers_of_its_own_layer():
    row = rows(small_report())[0]
    cells = dict(zip((column.title for column in COLUMNS), row.cells, strict=True))
    assert cells == {
        "fan-in": "30",
        "gain": "0.548",
        "pre-act std": "1.85",
        "act std": "0.926",
        "by theory": "0.650",
        "sat. or 0": "71.4 %",
        "dead units": "2",
        "alike": "0.02",
        "grad² mean": "1.76",
        "update: data": "-2.7",
    }


@pytest.mark.parametrize("count", [FOLDED_BEYOND, FOLDED_BEYOND + 1])
def test_healthy_layers_are_folded_into_one_line_beyond_twenty(count):
    layers = [layer(f"hidden.{place}", place, std=0.5 + place / 100) for place in range(count)]
    many = report(
        layers, [check("gain", "bad", ["hidden.7"]), check("loss", "suspect", ["hidden.2"])]
    )
    lines = shown(many)
    flagged = [line for line in lines if re.match(r"[✗!] +\d+ hidden\.\d+\.weight", line)]
    assert [line.split()[2] for line in flagged] == ["hidden.7.weight", "hidden.2.weight"]
    healthy = [line for line in lines if re.match(r"✓ +\d+ hidden", line)]
    if count == FOLDED_BEYOND:
        assert len(healthy) == count - 2
        assert not any("healthy layers" in line for line in lines)
    else:
        assert not healthy
        assert sum("19 healthy layers" in line for line in lines) == 1
        (one,) = [row for row in folded(rows(many)) if row.verdict == "good"]
        column = [each.title for each in COLUMNS].index("act std")
        # The median of 0.50 to 0.70 without 0.52 and 0.57.
        assert one.cells[column] == "0.610"


LONG = "transformer.encoder.layers.11.self_attention.output_projection_of_all_heads"


@pytest.mark.parametrize("width", [100, 80, 60])
@pytest.mark.parametrize("name", ["hidden.0", LONG, "x" * 70])
def test_no_line_is_too_wide_and_no_name_is_cut(width, name):
    layers = [layer(name, 1), *(layer(f"{name}.{place}", place) for place in range(2, 30))]
    lines = shown(report(layers, [check("gain", "bad", [each.name for each in layers])]), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in table_of(lines))
    # The first 30 columns or so hold sign, place and name, the latter in several lines.
    names = "".join(
        word
        for line in table_of(lines)
        for word in re.findall(r"(?:^[✗ ] +\d* )?([\w.]+)", line)[:1]
    )
    assert f"{name}.weight" in names
    assert f"{name}.17.weight" in names


def test_a_table_of_a_hundred_columns_has_all_numbers():
    titles = " ".join(table_of(shown(small_report()))[:2])
    for column in COLUMNS:
        for word in column.title.split():
            assert word in titles


def test_code_is_never_wrapped():
    code = "\n".join(f"first = second[{'a' * 120!r}]" for _ in range(2))
    made = replace(small_report().prescriptions[0], code=code)
    lines = shown(replace(small_report(), prescriptions=(made,)), 60)
    assert sum(line == "      " + code.splitlines()[0] for line in lines) == 2


# Signs and colours.


def test_signs_tell_what_colours_tell():
    text = "\n".join(shown(small_report()))
    assert {"✗ bad", "! suspect", "✓ good"} <= set(re.findall(r"[✗!✓] \w+", text))


def test_a_terminal_without_these_signs_gets_others():
    text = "\n".join(shown(small_report(), encoding="ascii"))
    assert {"x bad", "! suspect", "+ good"} <= set(re.findall(r"[x!+] \w+", text))
    assert "\\u2717" not in text


# Its words.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.6513, "0.651"),
        (0.65, "0.650"),
        (13.29, "13.3"),
        (99.96, "100"),
        (1440.4, "1,440"),
        (-2.5, "-2.50"),
        (2.1e-5, "2.1e-05"),
        (123456.0, "1.2e+05"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.0004, "<0.1 %"),
        (0.694, "69.4 %"),
        (0.99995, ">99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_shares_are_in_percent_and_none_is_rounded_to_nothing_or_all(value, text):
    assert share(value) == text


def test_runs_of_layers_are_named_by_their_ends():
    order = [f"hidden.{place}" for place in range(10)]
    assert layer_list(order[:3], order) == "hidden.0, hidden.1, hidden.2"
    chosen = [*order[1:5], order[7]]
    assert layer_list(chosen, order) == "hidden.1 … hidden.4 (4 layers), hidden.7"
    assert layer_list(["elsewhere"], order) == "elsewhere"


def test_bounds_say_where_a_value_would_be_good():
    assert bounds(check("a", "bad", value=5.5, low=0.25, high=3.0)) == "5.50, good from 0.25 to 3"
    assert bounds(check("a", "bad", value=5.5, high=3.0)) == "5.50, good up to 3"
    assert bounds(check("a", "bad", value=0.1, low=3.0)) == "0.100, good from 3"
    assert bounds(check("a", "bad", value=0.1)) == "0.100"
    assert bounds(check("a", "bad", low=3.0)) == ""


def test_beyond_twelve_prescriptions_the_others_take_a_line_each():
    names = [f"hidden.{place}" for place in range(20)]
    made = [
        Prescription(f"{name}.weight", name, "scale", 0.5, (), "× 0.5", f"fix {name}", "why", ())
        for name in names
    ]
    layers = [layer(name, place) for place, name in enumerate(names)]
    lines = shown(report(layers, prescriptions=tuple(made)))
    assert sum(line.strip().startswith("fix hidden.") for line in lines) == 12
    assert sum(line.strip() == "why" for line in lines) == 12
    assert [line.rstrip() for line in lines if ".weight: × 0.5" in line] == [
        f"{place}. hidden.{place - 1}.weight: × 0.5" for place in range(1, 21)
    ]


def test_a_report_prints_itself_and_is_named_in_short():
    value = report([layer("hidden.0", 0)], [check("gain", "bad", ["hidden.0"], text="Too wide.")])
    assert [line.rstrip() for line in str(value).splitlines()] == shown(value)
    assert repr(value) == "<Report of CharacterMLP (hidden 40): bad (gain); print it for more>"
