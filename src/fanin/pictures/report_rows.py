"""A report's layers as the rows of a table, the same for the terminal and for the page."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import final

from fanin.diagnosis.recording import Layer, Number
from fanin.diagnosis.report import VERDICTS, Report, Verdict
from fanin.pictures.report_text import NOTHING, number, share

FOLDED_BEYOND = 20


@final
@dataclass(frozen=True)
class Column:
    """One measured number: its title in two words, what it is, where it comes from."""

    title: str
    text: str
    read: Callable[[Report, Layer], Number]
    show: Callable[[Number], str] = number


@final
@dataclass(frozen=True)
class Row:
    """One line. `place` counts the layers in order of execution, from 1; 0 for several layers."""

    verdict: Verdict
    place: int
    name: str
    numbers: tuple[Number, ...]
    cells: tuple[str, ...]


def _fan_in(report: Report, layer: Layer) -> Number:
    return None if layer.fan_in is None else float(layer.fan_in)


def _gain(report: Report, layer: Layer) -> Number:
    return layer.gain


def _preactivation_std(report: Report, layer: Layer) -> Number:
    return layer.preactivation and layer.preactivation.std


def _activation_std(report: Report, layer: Layer) -> Number:
    return layer.activation and layer.activation.std


def _predicted_std(report: Report, layer: Layer) -> Number:
    predicted = [each for each in report.predictions if each.layer == layer.name]
    return predicted[0].activation_std.from_input if predicted else None


def _at_ends(report: Report, layer: Layer) -> Number:
    if layer.saturation is not None and layer.saturation.bounded:
        return layer.saturation.share
    return layer.activation.zero_share if layer.activation and layer.saturation else None


def _dead(report: Report, layer: Layer) -> Number:
    return float(len(layer.dead_units)) if layer.nonlinearity is not None else None


def _alike(report: Report, layer: Layer) -> Number:
    return layer.between and layer.between.correlation


def _gradient(report: Report, layer: Layer) -> Number:
    return layer.gradient and layer.gradient.second_moment


def _update(report: Report, layer: Layer) -> Number:
    weight = next((own for own in layer.parameters if own.name == layer.weight), None)
    return weight and weight.update_to_data


def _whole(value: Number) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def _decimal(value: Number) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _logarithm(value: Number) -> str:
    return NOTHING if value is None else f"{value:.1f}"


FAN_IN = Column("fan-in", "numbers that each unit reads", _fan_in, _whole)
GAIN = Column("gain", "the weights' standard deviation × √fan-in", _gain)
PREACTIVATION = Column(
    "pre-act std", "standard deviation of the pre-activations", _preactivation_std
)
ACTIVATION = Column("act std", "standard deviation of what the layer hands on", _activation_std)
PREDICTED = Column("by theory", "that standard deviation as theory has it", _predicted_std)
AT_ENDS = Column(
    "sat. or 0", "share of outputs at the activation's flat ends; of exact zeros", _at_ends, share
)
DEAD = Column("dead units", "units at a flat end, or zero, for every example", _dead, _whole)
ALIKE = Column("alike", "mean correlation between the outputs of two examples", _alike, _decimal)
GRADIENT = Column("grad² mean", "second moment of the gradient of what it hands on", _gradient)
UPDATE = Column("update: data", "log10 of one update over the weights", _update, _logarithm)
COLUMNS = (
    FAN_IN,
    GAIN,
    PREACTIVATION,
    ACTIVATION,
    PREDICTED,
    AT_ENDS,
    DEAD,
    ALIKE,
    GRADIENT,
    UPDATE,
)


def rows(report: Report) -> list[Row]:
    """A row for each layer under its weight's name, the worst first, else in order of execution."""
    found: list[Row] = []
    for place, layer in enumerate(report.recording.layers, 1):
        numbers = tuple(column.read(report, layer) for column in COLUMNS)
        cells = tuple(column.show(n) for column, n in zip(COLUMNS, numbers, strict=True))
        verdict = report.verdict_of(layer.name)
        found.append(Row(verdict, place, layer.weight or layer.name, numbers, cells))
    return sorted(found, key=lambda row: -VERDICTS.index(row.verdict))


def folded(found: list[Row]) -> list[Row]:
    """Of more than twenty layers the healthy ones are one row, of their medians."""
    healthy = [row for row in found if row.verdict == "good"]
    if len(found) <= FOLDED_BEYOND or len(healthy) < 2:
        return found
    numbers = tuple(map(_median, zip(*(row.numbers for row in healthy), strict=True)))
    cells = tuple(column.show(n) for column, n in zip(COLUMNS, numbers, strict=True))
    name = f"{len(healthy)} healthy layers (medians)"
    return [row for row in found if row.verdict != "good"] + [Row("good", 0, name, numbers, cells)]


def totals(report: Report) -> Row:
    """The last row: how many layers and parameters, all dead units, the gradients' growth."""
    layers = report.recording.layers
    parameters = [own for own in report.recording.parameters if own.tied_to is None]
    count = sum(own.data.size for own in parameters)
    dead = [n for layer in layers if (n := _dead(report, layer)) is not None]
    at: dict[Column, str] = {
        DEAD: _whole(sum(dead)) if dead else NOTHING,
        GRADIENT: _growth(report),
    }
    cells = tuple(at.get(column, "") for column in COLUMNS)
    name = f"{len(layers)} layers, {count:,} parameters"
    return Row(report.verdict, 0, name, (), cells)


def _growth(report: Report) -> str:
    """The gradient's second moment at the first hidden layer over that at the last."""
    hidden = [layer for layer in report.recording.layers if layer.role == "hidden"]
    ends = [_gradient(report, layer) for layer in (hidden[0], hidden[-1])] if hidden else [None] * 2
    first, last = ends
    return f"× {number(first / last)}" if len(hidden) > 1 and first and last else ""


def _median(numbers: tuple[Number, ...]) -> Number:
    known = [each for each in numbers if each is not None]
    return median(known) if known else None
