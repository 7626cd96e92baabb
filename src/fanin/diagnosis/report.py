"""The judgement of a recording as a value: verdict, checks, predictions, prescriptions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from fanin.diagnosis.recording import Number, Recording

Verdict: TypeAlias = Literal["good", "suspect", "bad"]
VERDICTS: tuple[Verdict, ...] = ("good", "suspect", "bad")
"""From the best to the worst. Bad: training is hindered; suspect: it may be."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; good where there are none."""
    return VERDICTS[max(map(VERDICTS.index, verdicts), default=0)]


@dataclass(frozen=True)
class Prediction:
    """What theory expects of one measured number, and how far from it chance takes a network.

    A spread is the standard deviation of ln(measured/predicted) over random starts of networks of
    these widths, by simulation.
    """

    from_input: Number = None
    """from the network's input on"""
    ahead: Number = None
    """from what was measured before this layer"""
    spread_from_input: Number = None
    spread_ahead: Number = None
    no_theory: str = ""
    """why there is no number, where there is none"""


@dataclass(frozen=True)
class LayerPrediction:
    """The predictions for one layer; second moments, except where the name says otherwise."""

    layer: str
    preactivation: Prediction
    activation: Prediction
    activation_std: Prediction
    correlation: Prediction
    """of two examples, in the activation"""
    saturated_share: Prediction
    gradient_growth: Prediction
    """the gradient's second moment at this layer's input, over that at its output"""


@dataclass(frozen=True)
class Check:
    """One named judgement."""

    name: str
    verdict: Verdict
    value: Number
    expected: Number
    """what a healthy network has here"""
    low: Number
    high: Number
    """the bounds within which the verdict is good; None for an open end"""
    layers: tuple[str, ...]
    """the layers at fault, in order of execution; empty for the whole network"""
    text: str
    source: str


@dataclass(frozen=True)
class Prescription:
    """One change to one parameter."""

    parameter: str
    layer: str
    change: str
    """in words: "× 0.0333", "draw again", "set to 0" """
    number: Number
    """the factor, or what it is set to"""
    code: str
    """Python that makes the change, given `parameters` (and `network`, where it is named)"""
    reason: str
    check: str
    """the name of the check that asks for it"""


@dataclass(frozen=True)
class Choice:
    """One way to change a network whose gradients vanish or explode over its depth."""

    name: str
    change: str
    code: str
    activation_second_moment: Number
    """of the last hidden layer, by theory"""
    gradient_product: Number
    """of the gradients' growth over all layers, by theory"""
    correlation: Number
    """of two examples in the last hidden layer, by theory"""
    text: str


class Subject(Protocol):
    """What was diagnosed, for those who change and measure it again."""

    def diagnose(self, parameters: Any) -> "Report":
        """The report of the same network and batch with other parameters."""
        ...

    @property
    def parameters(self) -> Any: ...


@dataclass(frozen=True, eq=False)
class Report:
    """What a network is like before its first step.

    `checks` are in order of severity, the worst first. `after` is the report of the network as
    prescribed, once that was measured.
    """

    recording: Recording
    predictions: tuple[LayerPrediction, ...]
    checks: tuple[Check, ...]
    prescriptions: tuple[Prescription, ...]
    choices: tuple[Choice, ...] = ()
    expected_loss: Number = None
    """of logits as wide as those of a healthy start: about log V for classes"""
    after: "Report | None" = None
    subject: Subject | None = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks' verdicts."""
        return worst(check.verdict for check in self.checks)

    @property
    def loss(self) -> Number:
        return None if self.recording.loss is None else self.recording.loss.value

    def verdict_of(self, layer: str) -> Verdict:
        """The worst verdict that names this layer."""
        return worst(check.verdict for check in self.checks if layer in check.layers)

    def prediction(self, layer: str) -> LayerPrediction:
        """The predictions for the layer of that name; KeyError where there is none."""
        by_name: Mapping[str, LayerPrediction] = {p.layer: p for p in self.predictions}
        return by_name[layer]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, in the schema of `fanin.diagnosis.document`."""
        from fanin.diagnosis.document import document_of, to_builtins

        return to_builtins(document_of(self))

    def to_json(self) -> bytes:
        """The report as JSON; numbers that are not finite are null."""
        from fanin.diagnosis.document import document_of, to_json

        return to_json(document_of(self))
