"""Starting a module by a scheme: each weight by what it was seen to do with a sample."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fanin.diagnosis.recording import Layer, Parameter
from fanin.diagnosis.ways import Ways
from fanin.errors import OptionError
from fanin.starts import Rule, Scheme, find_start
from fanin.theory import Nonlinearity
from fanin.torch.naming import Names, plain
from fanin.torch.nodes import Node, Weight
from fanin.torch.passing import Inputs
from fanin.torch.preserve import undisturbed
from fanin.torch.record import Recorded, record
from fanin.torch.scaling import scale_to_unit


@dataclass(frozen=True)
class Started:
    """What became of one parameter."""

    parameter: str
    layer: str
    what: str
    """how it was filled, or why it was left alone"""
    scale: float | None = None
    """the standard deviation of what it was filled with (the value of a constant, the factor of an
    orthogonal matrix); None where it was left alone"""

    def __str__(self) -> str:
        return f"{self.parameter}: {self.what}"


def initialise_(
    module: nn.Module,
    scheme: str | Scheme = "fanin",
    *,
    sample: Inputs,
    generator: torch.Generator | None = None,
) -> tuple[Started, ...]:
    """Start a module in place by a scheme; returns what was done, parameter by parameter.

    `sample` are inputs (a tensor, a tuple or a dictionary): one pass over them shows what each
    weight does, and which activation stands before it *as it ran*, which is what a gain makes up
    for. Fans are those of the use (of convolutions, strided and transposed ones too). Parameters
    of normalisations, frozen ones and those that no layer is seen to use stay as they are, as do
    the gates of recurrent layers, zero weights at the end of a residual branch, and weights that
    are made of several parameters. `lsuv` measures on the sample, in order of execution.

    Numbers are drawn from `generator`, or from PyTorch's own as `torch.nn.init` does. Raises
    OptionError for a scheme that is not known, or cannot have its way with an activation; the
    module is then as it was.
    """
    found = find_start(scheme) if isinstance(scheme, str) else scheme
    with undisturbed():
        recorded = record(module, sample, loss=None)
    starting = _Starting(module, found, recorded, generator)
    with torch.no_grad():
        try:
            starting.fill()
            if found.unit_preactivations:
                with undisturbed():
                    starting.scale_to_unit(sample)
        except BaseException:
            starting.take_back()
            raise
    return tuple(starting.done.values())


initialize_ = initialise_


class _Starting:
    def __init__(
        self,
        module: nn.Module,
        scheme: Scheme,
        recorded: Recorded,
        generator: torch.Generator | None,
    ) -> None:
        self.module = module
        self.scheme = scheme
        self.recorded = recorded
        self.generator = generator
        self.tensors = Names(module).parameters
        self.padding = {
            plain(f"{path}.weight" if path else "weight"): each.padding_idx
            for path, each in module.named_modules()
            if isinstance(each, nn.Embedding | nn.EmbeddingBag)
        }
        self.layers = {
            own.name: layer for layer in recorded.recording.layers for own in layer.parameters
        }
        tied = {own.tied_to: own.name for own in recorded.recording.parameters if own.tied_to}
        # A tied weight is judged by its last use: what it gives as logits matters more.
        self.judged = {
            name: self.layers[tied[name]] if name in tied else layer
            for name, layer in self.layers.items()
        }
        ways = Ways(recorded.recording)
        for layer in ways.outputs:
            # So is one that is used again under its own name: F.linear(x, self.embedding.weight).
            first = ways.first_call(layer)
            if not layer.weight and first is not None and first.weight:
                self.judged[first.weight] = layer
        self.done: dict[str, Started] = {}
        self._before_it: dict[str, Tensor] = {}

    def take_back(self) -> None:
        """Everything as it was before."""
        for name, tensor in self._before_it.items():
            self.tensors[name].copy_(tensor)

    def fill(self) -> None:
        for layer in self.recorded.recording.layers:
            for own in layer.parameters:
                if own.tied_to is None:
                    self.done[own.name] = self._fill(layer, own)

    def _fill(self, layer: Layer, own: Parameter) -> Started:
        reason = self._left(layer, own)
        if reason:
            return Started(own.name, layer.name, f"left as it is: {reason}")
        judged = self.judged[own.name]
        if own.name == layer.bias:
            return self._fill_bias(layer, own)
        rule = {"embedding": self.scheme.embedding, "output": self.scheme.output}.get(
            judged.role, self.scheme.hidden
        )
        weight = self.recorded.weights[own.name]
        fan_in, fan_out = judged.fan_in or 1, judged.fan_out or 1
        scale = self._scale(rule, judged, fan_in, fan_out)
        if rule.mode != "none":
            scale /= abs(judged.factor)  # what follows the weight multiplies it
        self._keep(own.name)
        self._draw(self.tensors[own.name], weight, rule.distribution, scale)
        row = self.padding.get(own.name)
        if row is not None:
            self.tensors[own.name][row] = 0.0
        return Started(own.name, layer.name, _in_words(rule, judged, scale), scale)

    def _keep(self, name: str) -> None:
        self._before_it[name] = self.tensors[name].detach().clone()

    def _left(self, layer: Layer, own: Parameter) -> str:
        """Why a parameter is not filled; "" where it is."""
        if not own.trainable:
            return "it is frozen"
        if own.role.startswith("normalisation"):
            return "it belongs to a normalisation"
        if layer.kind == "recurrent":
            return "gates are not seen inside"
        if own.name == layer.bias:
            return ""
        if own.name not in self.recorded.weights:
            return "it is no layer's whole weight"
        if own.data.largest == 0.0 and layer.role == "residual":
            return "zero, it lets its branch begin with nothing"
        return ""

    def _fill_bias(self, layer: Layer, own: Parameter) -> Started:
        rule = self.scheme.output_bias if layer.role == "output" else self.scheme.bias
        scale = rule.scale(layer.fan_in or 1, layer.fan_out or 1)
        self._keep(own.name)
        self._draw(self.tensors[own.name], None, rule.distribution, scale)
        return Started(own.name, layer.name, _in_words(rule, layer, scale), scale)

    def _scale(self, rule: Rule, layer: Layer, fan_in: int, fan_out: int) -> float:
        before = self._before(layer)
        try:
            return self.scheme.scale_by(rule, fan_in, fan_out, before, layer.branches)
        except OptionError as error:
            raise OptionError(f"{layer.name}: {error}") from error

    def _before(self, layer: Layer) -> Nonlinearity | None:
        name = layer.nonlinearity_before
        return None if name is None else self.recorded.nonlinearities.get(name)

    def _draw(self, tensor: Tensor, weight: Weight | None, kind: str, scale: float) -> None:
        places = None if weight is None else weight.places()
        shape = tuple(tensor.shape) if places is None else tuple(places.shape)
        drawn = torch.empty(shape, dtype=torch.float32, device=tensor.device)
        match kind:
            case "normal":
                nn.init.normal_(drawn, 0.0, scale, generator=self.generator)
            case "uniform":
                half = scale * 3**0.5
                nn.init.uniform_(drawn, -half, half, generator=self.generator)
            case "orthogonal" if drawn.ndim > 1:
                nn.init.orthogonal_(drawn, scale, generator=self.generator)
            case _:
                nn.init.constant_(drawn, scale)
        if places is None:
            tensor.copy_(drawn)
        else:
            flat = torch.empty(tensor.numel(), dtype=drawn.dtype, device=tensor.device)
            flat[places.to(tensor.device).reshape(-1)] = drawn.reshape(-1)
            tensor.copy_(flat.reshape(tensor.shape))

    def scale_to_unit(self, sample: Inputs) -> None:
        def target(node: Node) -> float | None:
            """The second moment that this node's weighted sums are to have; None to leave it."""
            assert node.weight is not None
            name = node.weight.parameters[0]
            done, layer = self.done.get(name), self.judged.get(name)
            if done is None or done.scale is None or layer is None:
                return None
            if layer.role not in ("hidden", "residual"):
                return None
            return self.scheme.factor_of_branches(layer.branches) ** 2

        for name, factor in scale_to_unit(self.module, sample, target).items():
            done = self.done[name]
            if factor is None:
                what = f"{done.what}, not measured: it gives nothing on the sample"
                self.done[name] = Started(name, done.layer, what, done.scale)
                continue
            what = f"{done.what}, × {factor:.4g} to a measured second moment"
            scale = None if done.scale is None else done.scale * factor
            self.done[name] = Started(name, done.layer, what, scale)


def _in_words(rule: Rule, layer: Layer, scale: float) -> str:
    match rule.distribution:
        case "constant":
            return f"{scale:.4g} everywhere"
        case "orthogonal":
            text = f"orthogonal × {scale:.4g}"
        case "normal":
            text = f"N(0, {scale:.4g}²)"
        case _:
            text = f"uniform within ±{scale * 3**0.5:.4g}"
    if rule.mode != "none" and rule.gain != 1.0:
        fan = {"fan_in": f"√{layer.fan_in}", "fan_out": f"√{layer.fan_out}"}.get(rule.mode, "√fan")
        after = f" after {layer.nonlinearity_before}" if isinstance(rule.gain, str) else ""
        if layer.nonlinearity_before or not after:
            text += f", a gain over {fan}{after}"
    return text
