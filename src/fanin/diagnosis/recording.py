"""What was measured of a network in one forward and backward pass, whatever framework it lives in.

Numbers, names and short tuples only: a recording knows no framework, and msgspec writes and reads
it. `None` stands for a number that was not measured or is not finite.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Number: TypeAlias = float | None

LayerKind: TypeAlias = Literal[
    "embedding",
    "linear",
    "convolution",
    "recurrent",
    "attention",
    "normalisation",
    "activation",
    "sum",
    "other",
]
LayerRole: TypeAlias = Literal["embedding", "hidden", "residual", "output", "none"]


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width from `low` to `high`; the outermost hold what lies beyond."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Moments:
    """Of the entries of one array, those that are finite."""

    size: int
    mean: Number
    std: Number
    second_moment: Number
    largest: Number
    """the largest absolute value"""
    finite_share: float
    zero_share: float
    """the share of exact zeros"""
    histogram: Histogram | None = None

    @property
    def finite(self) -> bool:
        return self.finite_share == 1.0


@dataclass(frozen=True)
class Between:
    """Whether different examples are still different in a layer's output."""

    correlation: Number
    """mean cosine of two different examples over the units, not centred: mean field's c"""
    squared_correlation: Number
    """mean squared cosine over pairs of examples: 1 where all are one but for sign, 1/units where
    they point everywhere alike"""
    varying_share: Number
    """the share of the power that varies over the examples, unit by unit"""


@dataclass(frozen=True)
class Saturation:
    """Outputs at the flat ends of an activation: shares of entries (example × unit)."""

    low: Number
    """the pre-activation from which down the slope stays small; None for an end that is open"""
    high: Number
    low_share: float
    high_share: float

    @property
    def bounded(self) -> bool:
        """Whether both ends are flat, as those of tanh and sigmoid are, and not those of relu."""
        return self.low is not None and self.high is not None

    @property
    def share(self) -> float:
        return self.low_share + self.high_share


@dataclass(frozen=True)
class RunningStatistics:
    """What a normalisation takes for the mean and variance of its input, beside what they are."""

    names: tuple[str, ...]
    """of the statistics that the normalisation uses"""
    shift: Number
    """how far off the means are, in the deviations that are used: root mean square over units"""
    spread: Number
    """deviations as they are over those that are used, root mean square over units; None where
    one example at one place has none"""
    fresh: bool = False
    """whether they are 0 and 1, as they begin: no batch has gone into them"""


@dataclass(frozen=True)
class Summand:
    """One of the two terms of a sum, as it was added."""

    reads: tuple[str, ...]
    """the layers that it was made of, "" for the network's input"""
    second_moment: Number
    scale: str | None = None
    """a parameter by which it was multiplied as the last step"""


@dataclass(frozen=True)
class Parameter:
    """One array to learn, under its own name."""

    name: str
    shape: tuple[int, ...]
    role: str
    """as the network declares it: "hidden", "output", "bias", "normalisation gain", …"""
    data: Moments
    gradient: Moments | None
    """of the gradient of the mean loss; None where none was computed"""
    gradient_to_data: Number
    """root mean square of the gradient over that of the data"""
    update_to_data: Number
    """log10 of the root mean square of one update over that of the data"""
    trainable: bool = True
    tied_to: str | None = None
    """the name of an earlier parameter that shares this array"""


@dataclass(frozen=True)
class Layer:
    """One layer with what directly follows it: its normalisation and its activation.

    An activation, normalisation or sum that does not directly follow a layer (in a residual
    stream, say) is a layer of its own, without weights. `activation` is what the layer hands on;
    without a nonlinearity that is its (normalised) pre-activation.
    """

    name: str
    kind: LayerKind
    role: LayerRole
    reads: tuple[str, ...]
    """the layers whose outputs it reads, "" for the network's input; a sum reads several; empty
    where that is not known"""
    units: int
    """the entries of one example at one place: features, channels, symbols"""
    weight: str | None = None
    """the name of its weight among `parameters`"""
    weight_shape: tuple[int, ...] = ()
    fan_in: int | None = None
    fan_out: int | None = None
    weight_std: Number = None
    weight_second_moment: Number = None
    gain: Number = None
    """weight_std × √fan_in × |factor|"""
    factor: float = 1.0
    """a constant by which its outputs are multiplied before its activation"""
    magnitude: str | None = None
    """the name of a parameter of which the weight is a multiple, where it has no parameter of its
    own"""
    branches: int = 0
    """how many residual branches the network has, where the layer stands in one"""
    nonlinearity_before: str | None = None
    nonlinearity: str | None = None
    """the activation after it"""
    normalisation: str | None = None
    """between the layer and its activation: "batch", "layer", …"""
    statistics: RunningStatistics | None = None
    """of its normalisation, where that uses others than this batch's"""
    bias: str | None = None
    parameters: tuple[Parameter, ...] = ()
    """all that are its own, weight and bias, gain and bias of its normalisation"""
    input: Moments | None = None
    input_between: Between | None = None
    """of the input, where that is measured apart from what the layer before gave"""
    preactivation: Moments | None = None
    normalised: Moments | None = None
    activation: Moments | None = None
    between: Between | None = None
    """of the activation"""
    preactivation_between: Between | None = None
    gradient: Moments | None = None
    """of the loss of one example, in the activation"""
    gradient_between: Between | None = None
    saturation: Saturation | None = None
    dead_units: tuple[int, ...] = ()
    """units at one flat end, or zero, for every example: no gradient passes"""
    starved: tuple[str, ...] = ()
    """input matrices of a recurrent layer that next to no gradient reaches"""
    held: tuple[str, ...] = ()
    """gates of a recurrent layer that their biases hold where they are, in words"""
    constant_units: tuple[int, ...] = ()
    """units whose pre-activation is the same for every example"""
    twins: tuple[tuple[int, ...], ...] = ()
    """groups of units with the same weights and the same gradients: they stay one"""
    copies: tuple[tuple[int, ...], ...] = ()
    """groups with the same weights, whatever their gradients (of an embedding: symbols)"""
    part: tuple[str, int] | None = None
    """of a weight that is some units of a larger parameter: its name, and the first unit"""
    wide_units: tuple[int, ...] = ()
    """units whose weights are three times larger than those of one in five, or more"""
    wide_gain: Number = None
    """the gain of these"""
    faint_units: tuple[int, ...] = ()
    """units whose weights are a hundred times smaller than those of most"""
    outlying_biases: tuple[int, ...] = ()
    """units whose bias outweighs their weighted sums and the other units' pre-activations"""
    map: tuple[str, ...] = ()
    """a row for each of the first examples (at most 64), a character for each unit: + saturated
    high, - saturated low, 0 exactly zero, . none of these; empty where there is nothing to see"""
    first_unit: int = 0
    """of an activation that is given a part of a layer: which unit of that layer is its first"""
    calls: int = 1
    place: str = ""
    """the line that called it, where the framework tells"""
    places: float = 1.0
    """at how many places (positions, tokens) each example has its units"""
    attention_entropy: Number = None
    """of attention weights over that of equal ones, the mean over queries: 0 where each looks at
    one key alone"""
    attention_spread: Number = None
    """the standard deviation of scores over keys, root mean square over queries"""
    values: tuple[str, ...] = ()
    """of attention: the layers among `reads` that it only mixes, and does not look by"""
    summands: tuple[Summand, ...] = ()
    """of a sum, where its terms were measured apart from the layers that made them"""

    def own(self, role: str) -> Parameter | None:
        """Its first parameter of that role."""
        return next((each for each in self.parameters if each.role == role), None)


@dataclass(frozen=True)
class SharedStream:
    """Two parameters drawn from one stream of random numbers."""

    first: str
    second: str
    correlation: float
    """of the common prefix, after standardising"""
    length: int


@dataclass(frozen=True)
class Placed:
    """A table of parameters, as of positions, that is added to what comes from the batch."""

    name: str
    """of the parameter"""
    size: float
    """root mean square of what is added"""
    beside: float
    """the same of what it is added to"""
    to: tuple[str, ...] = ()
    """the layers that made that"""


@dataclass(frozen=True)
class NotFinite:
    """The first place that produced a value that is not finite."""

    place: str
    what: Literal["parameter", "statistic", "input", "output", "loss", "gradient"]
    text: str
    also: tuple[str, ...] = ()
    """further parameters and statistics that are not finite"""


@dataclass(frozen=True)
class Loss:
    """The loss at step 0, and what the last layer gave it to work with."""

    kind: str
    """"cross_entropy", "binary_cross_entropy", "mse", or the name of a callable"""
    value: Number
    classes: int | None
    target_entropy: Number
    """nats; of the targets of this batch. For "mse" their variance instead"""
    output: Moments
    """logits, or whatever the loss reads"""
    output_variance: Number
    """mean over examples of the variance over classes"""
    class_offset: Number
    """the largest distance of one class's mean logit from the mean over all"""
    largest_probability: Number
    """the mean over examples of the largest probability given to any class"""
    multiplier: str | None = None
    """a parameter of one number, as a temperature, that multiplies the output as its last step"""
    multiplied_by: Number = None
    """what that makes it be multiplied by"""


@dataclass(frozen=True)
class Recording:
    """One pass over a batch, layer by layer in order of execution."""

    framework: str
    subject: str
    """what was measured, in words: "CharacterMLP 27 × 3, embedding 10, hidden 200, tanh" """
    examples: int
    layers: tuple[Layer, ...]
    loss: Loss | None
    not_finite: NotFinite | None = None
    shared_streams: tuple[SharedStream, ...] = ()
    input: Moments | None = None
    input_between: Between | None = None
    learning_rate: Number = None
    optimiser: str = "sgd"
    not_seen: tuple[str, ...] = ()
    """what the recorder did not look into, in words"""
    placed: tuple[Placed, ...] = ()
    further_outputs: tuple[str, ...] = ()
    """output layers besides the one that the loss is told to read"""

    def layer(self, name: str) -> Layer:
        """The layer of that name; KeyError where there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for layer in self.layers for parameter in layer.parameters)
