"""The report as JSON: its schema, writing and reading."""

import hashlib
import inspect
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal, TypeAlias

import msgspec

from fanin.diagnosis.recording import (
    Between,
    Layer,
    LayerKind,
    LayerRole,
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

Schema: TypeAlias = Literal["fanin.diagnose/1"]
SCHEMA: Schema = "fanin.diagnose/1"
"""Its number rises when a field changes its meaning or goes."""


class ReportFileError(FaninError):
    """A report that cannot be read."""


@dataclass(frozen=True)
class LayerDocument:
    """One layer: the numbers that most readers want, then all that was measured."""

    name: str
    kind: LayerKind
    role: LayerRole
    verdict: Verdict
    """the worst of the checks that name it"""
    weight: str | None
    """its weight's name among `parameters`"""
    weight_shape: tuple[int, ...]
    fan_in: int | None
    fan_out: int | None
    weight_std: Number
    gain: Number
    """weight_std × √fan_in × factor"""
    nonlinearity_before: str | None
    nonlinearity: str | None
    """the activation after it"""
    normalisation: str | None
    """between the layer and its activation"""
    preactivation_std: Number
    activation_std: Number
    """of what it hands on"""
    predicted_activation_std: Number
    """by theory, from the network's input on; null where there is no theory"""
    saturated_share: Number
    """of outputs (example × unit) at the flat ends of a bounded activation"""
    zero_share: Number
    """of outputs that are exactly zero"""
    dead_units: tuple[int, ...]
    """at a flat end, or zero, for every example"""
    example_correlation: Number
    """the mean cosine of two different examples, in what it hands on"""
    gradient_second_moment: Number
    """of the loss of one example, in what it hands on"""
    reads: tuple[str, ...]
    """the layers whose outputs it reads, "" for the network's input"""
    units: int
    calls: int
    place: str
    """the line that called it, where the framework tells"""
    input: Moments | None
    preactivation: Moments | None
    normalised: Moments | None
    activation: Moments | None
    between: Between | None
    """of the activation"""
    preactivation_between: Between | None
    gradient: Moments | None
    gradient_between: Between | None
    saturation: Saturation | None
    constant_units: tuple[int, ...]
    """that give the same for every example"""
    twins: tuple[tuple[int, ...], ...]
    """groups of units with the same weights and the same gradients"""
    copies: tuple[tuple[int, ...], ...]
    """groups of units with the same weights"""
    outlying_biases: tuple[int, ...]
    """units whose bias outweighs all else"""
    parameters: tuple[Parameter, ...]
    predicted: LayerPrediction | None
    factor: float = 1.0
    """a constant by which its outputs are multiplied before its activation"""


@dataclass(frozen=True)
class ReportDocument:
    """A whole report."""

    schema: Schema
    """its number rises when a field changes its meaning or goes"""
    fanin: str
    """the version that wrote it"""
    framework: str
    """where the network lives: "fanin", "torch" """
    subject: str
    """the network in words"""
    examples: int
    """how many were measured"""
    verdict: Verdict
    """the worst of all checks"""
    loss: Number
    """at step 0, over the examples"""
    expected_loss: Number
    """of a guess that gives every class the same chance"""
    checks: tuple[Check, ...]
    """the worst first"""
    prescriptions: tuple[Prescription, ...]
    """what to change"""
    choices: tuple[Choice, ...]
    """ways out where gradients vanish or explode over the depth"""
    layers: tuple[LayerDocument, ...]
    """in order of execution"""
    output: Loss | None
    """the loss and what it reads"""
    not_finite: NotFinite | None
    shared_streams: tuple[SharedStream, ...]
    not_seen: tuple[str, ...]
    """what was not looked into, in words"""
    after: "ReportDocument | None" = None
    """the same again of the network as prescribed, after --fix"""
    sha256: str | None = None
    """of the object without this field, so that `fanin diff` reads no damaged numbers"""


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
        gradient_between=layer.gradient_between,
        saturation=layer.saturation,
        constant_units=layer.constant_units,
        twins=layer.twins,
        copies=layer.copies,
        outlying_biases=layer.outlying_biases,
        parameters=layer.parameters,
        predicted=predicted,
        factor=layer.factor,
    )


def _saturated_share(layer: Layer) -> Number:
    saturation = layer.saturation
    return saturation.share if saturation is not None and saturation.bounded else None


def to_builtins(document: ReportDocument) -> dict[str, Any]:
    """A document as dictionaries, lists, strings and numbers."""
    return msgspec.json.decode(to_json(document))


def to_json(document: ReportDocument) -> bytes:
    """A document as JSON text, on one line, with its checksum."""
    checksum = _checksum(msgspec.json.encode(document))
    return msgspec.json.encode(replace(document, sha256=checksum))


def read_document(content: bytes, source: str = "report") -> ReportDocument:
    """The document of JSON text; ReportFileError, naming `source`, for anything else."""
    try:
        document = msgspec.json.decode(content, type=ReportDocument)
        checksum = _checksum(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ReportFileError(f"{source}: is no report of fanin diagnose --json: {error}") from None
    if document.sha256 != checksum:
        raise ReportFileError(
            f"{source}: is damaged, or was changed: it does not give the checksum that it was "
            "written with; diagnose again"
        )
    return document


def _checksum(content: bytes) -> str:
    """SHA-256 of a JSON object's other fields, whatever their order and layout."""
    fields = json.loads(content, parse_int=float)
    fields.pop("sha256", None)
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON schema of a report."""
    schema = msgspec.json.schema(ReportDocument)
    for definition in schema["$defs"].values():
        if "description" in definition:  # a docstring, which Python before 3.13 leaves indented
            definition["description"] = inspect.cleandoc(definition["description"])
    return schema
