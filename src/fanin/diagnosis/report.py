"""The judgement of a recording as a value: verdict, checks, predictions, prescriptions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from fanin.diagnosis.recording import Layer, Number, Recording
from fanin.errors import FaninError

Verdict: TypeAlias = Literal["good", "suspect", "bad"]
VERDICTS: tuple[Verdict, ...] = ("good", "suspect", "bad")
"""From the best to the worst. Bad: training is hindered; suspect: it may be."""

DRAWN_BY, PRINTED_BY = "fanin.pictures.report_html", "fanin.pictures.report_terminal"
"""The modules that show reports: known by name alone, because pictures stand above what they show,
and loaded when one is asked for, because drawing takes matplotlib."""


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


Action: TypeAlias = Literal["scale", "draw", "shuffle", "zero"]
"""Multiply by a number, draw again by the house's scheme, put the entries in random order, set to
zero."""


@dataclass(frozen=True)
class Prescription:
    """One change to one parameter."""

    parameter: str
    layer: str
    action: Action
    number: Number
    """what to multiply by, for "scale"; for "draw", what is drawn, if not None"""
    units: tuple[int, ...]
    """the units (of an embedding: symbols) whose entries are changed; empty for all"""
    change: str
    """in words: "× 0.181, to a standard deviation of 0.1826 = 1/√30" """
    code: str
    """Python that makes the change, given `parameters` (and `network`, `statistics`, `contexts`
    where they are named)"""
    reason: str
    checks: tuple[str, ...]
    """the names of the checks that ask for it"""


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
    options: str = ""
    """the options of `fanin diagnose` and `fanin train` that make it, where they do"""


@runtime_checkable
class Subject(Protocol):
    """What was diagnosed, for changing it and measuring it again."""

    @property
    def held(self) -> Any:
        """What `fix_` changes: a module, or parameters by name."""
        ...

    def on(self, held: Any) -> "Subject":
        """The same with another such module, or other parameters."""
        ...

    def mended(self, prescriptions: "tuple[Prescription, ...]") -> Any:
        """A copy of what was diagnosed with these changes."""
        ...

    def given(self, mended: Any) -> Any:
        """The part of such a copy that a user gives: parameters by name, or a module."""
        ...

    def mend_(self, prescriptions: "tuple[Prescription, ...]") -> Any:
        """Make these changes in place; returns what `diagnose` takes."""
        ...

    def diagnose(self, mended: Any) -> "Report":
        """The report of such a copy, on the same examples."""
        ...


@dataclass(frozen=True, eq=False)
class Report:
    """What a network is like before its first step.

    `checks` are in order of severity, the worst first.
    """

    recording: Recording
    predictions: tuple[LayerPrediction, ...]
    checks: tuple[Check, ...]
    prescriptions: tuple[Prescription, ...]
    choices: tuple[Choice, ...] = ()
    expected_loss: Number = None
    """of a guess that gives every class the same chance: log V"""
    subject: Subject | None = field(default=None, repr=False)
    write: Callable[[Prescription], str] | None = field(default=None, repr=False)
    """writes a change as code of the recording's framework"""
    _latest: "tuple[Any, Report] | None" = field(default=None, init=False, repr=False)
    _fixed_in_place: list[Any] = field(default_factory=list[Any], init=False, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks' verdicts."""
        return worst(check.verdict for check in self.checks)

    @property
    def loss(self) -> Number:
        return None if self.recording.loss is None else self.recording.loss.value

    @property
    def after(self) -> "Report | None":
        """The report of the network as prescribed, once `fixed` or `fix_` has measured it."""
        return None if self._latest is None else self._latest[1]

    def fixed(self, of: Any = None, *, data_driven: bool = False, biases: bool = False) -> Any:
        """A copy of what was diagnosed (parameters by name, a module) with all prescriptions
        applied, or of another such; measured again, see `after`. The options are those of
        `prescribed`."""
        self._mend(data_driven, biases, of)
        assert self.subject is not None
        return self.subject.given(self.mended)

    def prescribed(
        self, *, data_driven: bool = False, biases: bool = False
    ) -> tuple[Prescription, ...]:
        """The changes that `fixed` and `fix_` make with these options.

        `data_driven`: scales are measured layer by layer, in order of execution, and not computed.
        Computed scales take biases away that would undo them; measured ones make room for them.
        With `biases`, those of every layer that a verdict names are set to zero.
        """
        made = self.prescriptions
        if biases:
            made = (*made, *self._zero_biases(made))
        elif data_driven:
            made = tuple(each for each in made if not self._widens_only(each))
        if data_driven:
            subject = self._subject()

            def measure(changes: tuple[Prescription, ...]) -> Recording:
                return subject.diagnose(subject.mended(changes)).recording

            from fanin.diagnosis.by_measurement import by_measurement

            return by_measurement(replace(self, prescriptions=made), measure)
        return made

    @property
    def mended(self) -> Any:
        """That copy with all that goes with it, as running statistics do."""
        if self._latest is None:
            self._mend(False, False)
        assert self._latest is not None
        return self._latest[0]

    def fix_(self, of: Any = None, *, data_driven: bool = False, biases: bool = False) -> "Report":
        """Apply all prescriptions in place, to what was diagnosed or to another such; returns the
        report after them.

        Raises ReportError the second time: what was measured is no more.
        """
        subject = self._subject(of)
        made = self.prescribed(data_driven=data_driven, biases=biases)
        mended = subject.mend_(made)
        self._fixed_in_place.append(subject.held)
        self.__dict__["_latest"] = (mended, subject.diagnose(mended))
        after = self.after
        assert after is not None
        return after

    def _mend(self, data_driven: bool, biases: bool, of: Any = None) -> None:
        subject = self._subject(of)
        made = self.prescribed(data_driven=data_driven, biases=biases)
        mended = subject.mended(made)
        self.__dict__["_latest"] = (mended, subject.diagnose(mended))

    def _widens_only(self, made: Prescription) -> bool:
        """Whether a change is of biases that are only large, which measured scales allow for."""
        if made.action != "zero" or not set(made.checks) <= set(SCALE_CHECKS):
            return False
        return self.recording.layer(made.layer).role != "output"

    def _zero_biases(self, made: tuple[Prescription, ...]) -> list[Prescription]:
        changed = {each.parameter for each in made if not each.units}
        named = {name for each in self.checks if each.verdict != "good" for name in each.layers}
        found: list[Prescription] = []
        for layer in self.recording.layers:
            bias = next((own for own in layer.parameters if own.name == layer.bias), None)
            if bias is None or layer.name not in named or not bias.data.second_moment:
                continue
            name = bias.tied_to or bias.name
            if name not in changed:
                reason = "biases of the layers that a verdict names were asked to be zero"
                zero = Prescription(
                    name, layer.name, "zero", None, (), "set to 0", "", reason, ("biases",)
                )
                found.append(replace(zero, code=self.write(zero) if self.write else ""))
        return found

    def _subject(self, of: Any = None) -> Subject:
        if self.subject is None:
            raise ReportError(
                "this report was read, or made of a recording alone: there is nothing to fix; "
                "diagnose the network itself"
            )
        subject = self.subject if of is None else self.subject.on(of)
        if any(each is subject.held for each in self._fixed_in_place):
            raise ReportError("this network has been put right in place; diagnose it again")
        return subject

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, as they were measured, in order of execution."""
        return self.recording.layers

    def check(self, name: str) -> Check:
        """The check of that name; KeyError where it was not made."""
        return {check.name: check for check in self.checks}[name]

    def verdict_of(self, layer: str) -> Verdict:
        """The worst verdict that names this layer."""
        return worst(check.verdict for check in self.checks if layer in check.layers)

    def prediction(self, layer: str) -> LayerPrediction:
        """The predictions for the layer of that name; KeyError where there is none."""
        return {each.layer: each for each in self.predictions}[layer]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, in the schema of `fanin.diagnosis.document`."""
        from fanin.diagnosis.document import document_of, to_builtins

        return to_builtins(document_of(self))

    def to_json(self) -> bytes:
        """The report as JSON; numbers that are not finite are null."""
        from fanin.diagnosis.document import document_of, to_json

        return to_json(document_of(self))

    def __str__(self) -> str:
        """The report in words, as `fanin diagnose` prints it: for `print(report)`."""
        return import_module(PRINTED_BY).in_words(self)

    def __repr__(self) -> str:
        wrong = [check.name for check in self.checks if check.verdict != "good"]
        names = f" ({', '.join(wrong)})" if wrong else ""
        return f"<Report of {self.recording.subject}: {self.verdict}{names}; print it for more>"

    def figure(self, name: str) -> Any:
        """A matplotlib figure: "preactivations", "activations", "gradients" (histograms),
        "moments", "gradient moments", "correlations" (over the depth)."""
        return import_module(DRAWN_BY).report_figure(self, name)

    def html(self) -> str:
        """The report as one HTML page that loads nothing."""
        return import_module(DRAWN_BY).page(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return import_module(DRAWN_BY).fragment(self)


SCALE_CHECKS = (
    "loss",
    "logits",
    "saturation",
    "gain",
    "input scale",
    "attention",
    "stream",
    "gradients",
    "examples",
    "updates",
    "first step",
)
"""The checks that ask for other scales."""


class ReportError(FaninError):
    """A report that cannot do what it is asked."""
