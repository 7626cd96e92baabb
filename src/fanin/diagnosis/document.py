"""The report as JSON: its schema, writing and reading."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec

from fanin.diagnosis.recording import (
    Between,
    Layer,
    Loss,
    Moments,
    NotFinite,
    Number,
    Parameter,
    Saturation,
    SharedStream,
)
from fanin.diagnosis.report import (
    Check,
    Choice,
    LayerPrediction,
    Prescription,
    Report,
    Verdict,
)
from fanin.errors import FaninError

SCHEMA = 1


class ReportFileError(FaninError):
    """A report that cannot be read."""


@dataclass(frozen=True)
class LayerDocument:
    """One layer: the numbers that most readers want, then all that was measured."""

    name: str
    kind: str
    role: str
    verdict: Verdict
    weight: str | None
    weight_shape: tuple[int, ...]
    fan_in: int | None
    fan_out: int | None
    weight_std: Number
    gain: Number
    nonlinearity_before: str | None
    nonlinearity: str | None
    normalisation: str | None
    preactivation_std: Number
    activation_std: Number
    predicted_activation_std: Number
    saturated_share: Number
    zero_share: Number
    dead_units: tuple[int, ...]
    example_correlation: Number
    gradient_second_moment: Number
    reads: tuple[str, ...]
    units: int
    calls: int
    place: str
    input: Moments | None
    preactivation: Moments | None
    normalised: Moments | None
    activation: Moments | None
    between: Between | None
    preactivation_between: Between | None
    gradient: Moments | None
    preactivation_gradient: Moments | None
    gradient_between: Between | None
    saturation: Saturation | None
    constant_units: tuple[int, ...]
    twins: tuple[tuple[int, ...], ...]
    copies: tuple[tuple[int, ...], ...]
    outlying_biases: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    predicted: LayerPrediction | None


@dataclass(frozen=True)
class ReportDocument:
    """A whole report. `schema` rises when a field changes its meaning or goes."""

    schema: int
    fanin: str
    """the version that wrote it"""
    framework: str
    subject: str
    examples: int
    verdict: Verdict
    loss: Number
    expected_loss: Number
    checks: tuple[Check, ...]
    prescriptions: tuple[Prescription, ...]
    choices: tuple[Choice, ...]
    layers: tuple[LayerDocument, ...]
    output: Loss | None
    not_finite: NotFinite | None
    shared_streams: tuple[SharedStream, ...]
    not_seen: tuple[str, ...]
    after: "ReportDocument | None" = None


def document_of(report: Report) -> ReportDocument:
    """The report as what is written."""
    recording = report.recording
    return ReportDocument(
        schema=SCHEMA,
        fanin=version("fanin"),
        framework=recording.framework,
        subject=recording.subject,
        examples=recording.examples,
        verdict=report.verdict,
        loss=report.loss,
        expected_loss=report.expected_loss,
        checks=report.checks,
        prescriptions=report.prescriptions,
        choices=report.choices,
        layers=tuple(_layer_document(report, layer) for layer in recording.layers),
        output=recording.loss,
        not_finite=recording.not_finite,
        shared_streams=recording.shared_streams,
        not_seen=recording.not_seen,
        after=None if report.after is None else document_of(report.after),
    )


def _layer_document(report: Report, layer: Layer) -> LayerDocument:
    predicted = next((p for p in report.predictions if p.layer == layer.name), None)
    return LayerDocument(
        name=layer.name,
        kind=layer.kind,
        role=layer.role,
        verdict=report.verdict_of(layer.name),
        weight=layer.weight,
        weight_shape=layer.weight_shape,
        fan_in=layer.fan_in,
        fan_out=layer.fan_out,
        weight_std=layer.weight_std,
        gain=layer.gain,
        nonlinearity_before=layer.nonlinearity_before,
        nonlinearity=layer.nonlinearity,
        normalisation=layer.normalisation,
        preactivation_std=layer.preactivation and layer.preactivation.std,
        activation_std=layer.activation and layer.activation.std,
        predicted_activation_std=predicted and predicted.activation_std.from_input,
        saturated_share=_saturated_share(layer),
        zero_share=layer.activation and layer.activation.zero_share,
        dead_units=layer.dead_units,
        example_correlation=layer.between and layer.between.correlation,
        gradient_second_moment=layer.gradient and layer.gradient.second_moment,
        reads=layer.reads,
        units=layer.units,
        calls=layer.calls,
        place=layer.place,
        input=layer.input,
        preactivation=layer.preactivation,
        normalised=layer.normalised,
        activation=layer.activation,
        between=layer.between,
        preactivation_between=layer.preactivation_between,
        gradient=layer.gradient,
        preactivation_gradient=layer.preactivation_gradient,
        gradient_between=layer.gradient_between,
        saturation=layer.saturation,
        constant_units=layer.constant_units,
        twins=layer.twins,
        copies=layer.copies,
        outlying_biases=layer.outlying_biases,
        parameters=layer.parameters,
        predicted=predicted,
    )


def _saturated_share(layer: Layer) -> Number:
    saturation = layer.saturation
    return saturation.share if saturation is not None and saturation.bounded else None


def to_builtins(document: ReportDocument) -> dict[str, Any]:
    """A document as dictionaries, lists, strings and numbers."""
    return msgspec.json.decode(to_json(document))


def to_json(document: ReportDocument) -> bytes:
    """A document as JSON text."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def read_document(content: bytes, source: str = "report") -> ReportDocument:
    """The document of JSON text; ReportFileError, naming `source`, for anything else."""
    try:
        return msgspec.json.decode(content, type=ReportDocument)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ReportFileError(f"{source}: is no report of fanin diagnose --json: {error}") from None


def json_schema() -> dict[str, Any]:
    """The JSON schema of a report."""
    return msgspec.json.schema(ReportDocument)
