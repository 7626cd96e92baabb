"""Makes docs/handbook.md and its pictures: `python -m scripts.handbook_page`, half a minute.

Every check has a network with its fault in it, planted as `benchmarks/planted_faults.py` plants it.
What the page quotes is what the check said of that network, and what it said once it was mended.
PyTorch is needed, for the three checks that fanin's own networks have no use for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from benchmarks.planted_faults import (
    copy_unit,
    examples,
    lower_biases,
    nothing,
    put,
    reuse_key,
    scale,
    scale_all,
)
from matplotlib.figure import Figure

import fanin
from fanin.diagnosis.report import Check, Report
from fanin.pictures.figures import BLACK, GREY, new_figure, write_figure
from fanin.pictures.report_figures import VERDICT_COLOURS
from fanin.torch import diagnose as diagnose_module

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = DOCS / "checks"
SIZE = (4.6, 2.6)

INTRODUCTION = """# Handbook of checks

What `fanin diagnose` looks for, check by check: what it means, what brings it about, what to do.
Each has a network with that fault planted in it, what the check says of it, and what it says once
the prescriptions are applied. Where good ends and bad begins is data
(`fanin.diagnosis.thresholds`), with the reason for each number; `fanin.diagnose(…, thresholds=…)`
takes others. How often checks cry wolf, and what they miss, is in
[diagnosis-reliability.md](diagnosis-reliability.md); how to read the whole report, in
[reading-a-report.md](reading-a-report.md).

This page and its pictures are made by `python -m scripts.handbook_page`.
"""


@dataclass(frozen=True)
class Example:
    """A network with a fault, as reported, and the parameters that it was reported with."""

    words: str
    report: Report
    parameters: dict[str, Any]


Draw = Callable[[Example, Check], Figure]


@dataclass(frozen=True)
class Entry:
    """What the page says of one check."""

    name: str
    means: str
    causes: str
    do: str
    example: Callable[[], Example]
    draw: Draw
    caption: str


def planted(
    words: str,
    plant: Callable[[dict[str, Any], str, np.random.Generator], None] = nothing,
    layer: str = "hidden.1",
    depth: int = 3,
    activation: str = "tanh",
    start: str = "fanin",
) -> Callable[[], Example]:
    """A language model of so many layers of 100 units, its start spoilt in one layer."""

    def make() -> Example:
        network = fanin.CharacterMLP(27, hidden=(100,) * depth, activation=activation)
        parameters = dict(fanin.find_start(start)(network, jax.random.key(0)))
        plant(parameters, layer, np.random.default_rng(0))
        report = fanin.diagnose(network, parameters, *examples(), learning_rate=0.1)
        return Example(words, report, parameters)

    return make


class Sharp(torch.nn.Module):
    """One layer of self-attention whose queries and keys are too large."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(27, 64)
        self.queries, self.keys, self.values = (torch.nn.Linear(64, 64) for _ in range(3))
        self.head = torch.nn.Linear(64, 27)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        x = self.embedding(symbols)
        q, k, v = self.queries(x), self.keys(x), self.values(x)
        return self.head(torch.nn.functional.scaled_dot_product_attention(q, k, v))


class Growing(torch.nn.Module):
    """Sixteen residual branches without a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(27, 64)
        self.branches = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(16))
        self.head = torch.nn.Linear(64, 27)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        x = self.embedding(symbols)
        for branch in self.branches:
            x = x + branch(torch.relu(x))
        return self.head(x)


class Normalised(torch.nn.Module):
    """One layer with a batch normalisation that uses its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = torch.nn.Embedding(27, 64), torch.nn.BatchNorm1d(64)
        self.hidden, self.head = torch.nn.Linear(64, 64), torch.nn.Linear(64, 27)

    def forward(self, symbols: torch.Tensor) -> torch.Tensor:
        x = self.hidden(self.embedding(symbols)).transpose(1, 2)
        return self.head(torch.tanh(self.norm(x)).transpose(1, 2))


def sharp() -> Example:
    torch.manual_seed(0)
    module = Sharp()
    with torch.no_grad():
        module.queries.weight *= 8
        module.keys.weight *= 8
    return of_module("attention whose query and key weights are × 8", module)


def growing() -> Example:
    torch.manual_seed(0)
    module = Growing()
    with torch.no_grad():
        for branch in module.branches:
            branch.weight.normal_(0, (2 / 64) ** 0.5)
    return of_module("sixteen residual branches at relu's √2 and no normalisation", module)


def off() -> Example:
    torch.manual_seed(0)
    module = Normalised().eval()
    with torch.no_grad():
        module.norm.running_var.fill_(1e4)
    return of_module("a running variance of 10,000", module)


def of_module(words: str, module: torch.nn.Module) -> Example:
    symbols = torch.randint(27, (64, 32), generator=torch.Generator().manual_seed(1))
    targets = symbols.roll(-1, 1)
    report = diagnose_module(module, symbols, targets)
    return Example(words, report, {})


def of_report(figure: str) -> Draw:
    return lambda example, check: example.report.figure(figure)


def gauge(example: Example, check: Check) -> Figure:
    """The value on the line from bad to good, before and after."""
    figure, axes = new_figure(*SIZE)
    after = mended(example, check.name)
    found = [("as it was", check), *([("put right", after)] if after else [])]
    values = [each.value for _, each in found if each.value is not None]
    ends = [*values, *(end for end in (check.low, check.high) if end is not None)]
    wide = min(ends) > 0 and max(ends) / min(ends) > 20
    if wide:
        low, high = min(ends) / 3, max(ends) * 3
        axes.set_xscale("log")
    else:
        margin = 0.15 * (max(ends) - min(ends) or 1.0)
        low, high = min(ends) - margin, max(ends) + margin
    good = (low if check.low is None else check.low, high if check.high is None else check.high)
    axes.axvspan(*good, color=VERDICT_COLOURS["good"], alpha=0.2, linewidth=0)
    axes.text(good[0], len(found) - 0.45, " good", color=VERDICT_COLOURS["good"], va="top")
    for place, (_, each) in enumerate(reversed(found)):
        if each.value is not None:
            axes.plot(each.value, place, "o" if each.verdict == "good" else "X", markersize=10,
                      color=VERDICT_COLOURS[each.verdict])  # fmt: skip
            axes.annotate(f"{each.value:.3g}", (each.value, place), (0, 9),
                          textcoords="offset points", ha="center", color=BLACK)  # fmt: skip
    axes.set_yticks(range(len(found)), [label for label, _ in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlim(low, high)
    axes.set_xlabel(check.name, color=BLACK)
    return figure


def not_finite(example: Example, check: Check) -> Figure:
    """Where the values of two layers are not finite."""
    figure = Figure(figsize=SIZE, layout="constrained")
    parameters = {name: np.asarray(value) for name, value in example.parameters.items()}
    contexts, _ = examples()
    x = parameters["embedding.weight"][contexts[:40]].reshape(40, -1)
    layers = {}
    for name in ("hidden.0", "hidden.1", "hidden.2"):
        x = np.tanh(x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"])
        layers[name] = ~np.isfinite(x)
    for place, (name, missing) in enumerate(layers.items()):
        axes = figure.add_subplot(1, 3, place + 1)
        axes.imshow(missing, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("unit")
        axes.set_xticks([0, 50, 99])
        axes.set_yticks([])
        if place == 0:
            axes.set_ylabel("example")
    return figure


def alike_units(example: Example, check: Check) -> Figure:
    """The correlation of each unit's weights with each other's."""
    figure, axes = new_figure(4.2, 3.4)
    weight = np.asarray(example.parameters["hidden.1.weight"])
    shown = np.abs(np.corrcoef(weight.T))
    np.fill_diagonal(shown, 0.0)
    image = axes.imshow(shown, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="|correlation| of weights")
    first, second = np.argwhere(shown > 0.999)[0]
    for x, y in ((first, second), (second, first)):
        axes.plot(x, y, "o", markersize=14, fillstyle="none", color=VERDICT_COLOURS["bad"])
    axes.set_xlabel("unit of hidden.1")
    axes.set_ylabel("unit of hidden.1")
    return figure


def one_stream(example: Example, check: Check) -> Figure:
    """The entries of two weights in the order in which they were drawn."""
    figure, axes = new_figure(*SIZE)
    pairs = {"hidden.1": VERDICT_COLOURS["bad"], "hidden.2": GREY}
    output = np.asarray(example.parameters["output.weight"]).ravel()
    for name, colour in reversed(pairs.items()):
        other = np.asarray(example.parameters[f"{name}.weight"]).ravel()[: output.size]
        axes.plot(
            other / other.std(),
            output / output.std(),
            ".",
            markersize=2,
            color=colour,
            rasterized=True,
        )
        axes.plot([], [], "o", color=colour, label=name)
    axes.set_xlabel("k-th weight of a hidden layer over its std")
    axes.set_ylabel("k-th of output")
    axes.legend(frameon=False, loc="upper left")
    return figure


ENTRIES = (
    Entry(
        "finite",
        "Some parameter, output or gradient is NaN or infinite. From there on everything that "
        "depends on it is, and training never recovers. The check names the first place that "
        "produced such a value, not those that passed it on; most other checks are not judged.",
        "a division by a standard deviation of zero, a logarithm of zero, a statistic or a weight "
        "loaded from a damaged file, an overflow in half precision, a mask that leaves a row of "
        "attention nothing to look at.",
        "mend the named place. A parameter that holds such values is drawn anew by the "
        "prescription; a computation that makes them wants an ε, or more bits.",
        planted("NaN in one weight of the middle one of three layers", put(float("nan"))),
        not_finite,
        "Which outputs are not finite (black): none before the layer with the fault, one unit in "
        "it, every unit after it.",
    ),
    Entry(
        "loss",
        "The loss at step 0 is well above that of a guess that gives every class the same chance, "
        "log V. The network has opinions before it has seen anything, and the first steps are "
        "spent on unlearning them: the curve begins with a hockey stick.",
        "an output layer with large weights, or large activations below it.",
        "scale the output layer down (a gain of 0.1 gives near-uniform logits), or make it zero: a "
        "zero output layer learns, a zero hidden layer does not.",
        planted("the start `normal`, one layer", nothing, "", 1, "tanh", "normal"),
        gauge,
        "The loss before and after the prescriptions, and where it is good.",
    ),
    Entry(
        "logits",
        "The logits differ too much over the classes, or one class is far off the others for all "
        "examples alike.",
        "the same as for the loss; or an output bias that favours a class without having counted "
        "anything.",
        "scale the output weights, zero its bias (or set it to the log-frequencies of the classes, "
        "which is an opinion that has been counted).",
        planted("output weights × 100", scale(100.0), "output"),
        gauge,
        "The standard deviation of the logits over the classes, before and after.",
    ),
    Entry(
        "saturation",
        "Too many outputs of a bounded activation lie at its flat ends, where its slope lets next "
        "to no gradient through: 1 − tanh² is 0.06 at ±0.97. What cannot pass a gradient cannot "
        "teach the layers below it.",
        "weights too large for their fan-in, inputs that are not of unit scale, large biases.",
        "weights of N(0, gain²/fan-in), 1/√fan-in times a gain near 1 for tanh; or a normalisation "
        "before the activation.",
        planted("hidden weights × 5 in the middle one of three layers", scale(5.0)),
        of_report("activations"),
        "Densities of the activations: those of the layer with the fault stand at ±1.",
    ),
    Entry(
        "dead units",
        "Units that give zero (relu) or sit at a flat end (tanh, sigmoid) for every example. No "
        "gradient ever reaches their weights.",
        "strongly negative biases, a learning rate that threw them there, inputs that have become "
        "alike. On few examples healthy units look dead by chance, so at least 1,024 are wanted.",
        "draw their biases anew, at zero.",
        planted("biases of a relu layer at −10", lower_biases(1.0), activation="relu"),
        gauge,
        "The share of dead units, before and after.",
    ),
    Entry(
        "gain",
        "The weights' standard deviation times √fan-in, against the gain that keeps the second "
        "moment after the activation before them. Too large blows signals up, too small lets them "
        "die; over depth it multiplies.",
        "a constant standard deviation whatever the width, the wrong fan, a gain meant for another "
        "activation.",
        "scale to the prescribed standard deviation. Before a normalisation, and in small residual "
        "branches, a weight's size means little, and is not flagged.",
        planted("hidden weights × 5 in one of three relu layers", scale(5.0), activation="relu"),
        gauge,
        "The gain over the one that is wanted, before and after.",
    ),
    Entry(
        "input scale",
        "What the first layer is given is far from a second moment of 1, which every gain takes "
        "for granted: so large that it saturates what follows, or so small that biases drown it.",
        "features in their own units, an embedding drawn too wide.",
        "standardise the features, or scale the embedding.",
        planted("embedding × 50", scale(50.0), "embedding"),
        gauge,
        "The root mean square of what the embedding hands on, before and after.",
    ),
    Entry(
        "running statistics",
        "What a normalisation in evaluation mode, or a frozen one, takes for the mean and variance "
        "of its input is not what these are. Measured in deviations for the mean, and as a ratio, "
        "either way, for the deviation.",
        "statistics that were made on other data or other inputs (pictures from 0 to 255, say, "
        "where those of training were standardised), that were never made, or loaded into another "
        "layer.",
        "measure them anew on the examples, or give the network what it was trained on.",
        off,
        gauge,
        "How far they are off, before and after.",
    ),
    Entry(
        "attention",
        "Each query looks at hardly more than one key before it has learnt where to look; the "
        "softmax is saturated and passes next to no gradient. Measured as the entropy of the "
        "weights over that of equal ones.",
        "query or key weights too large, a missing division by √d, inputs without a normalisation.",
        "scale queries and keys, or normalise them.",
        sharp,
        gauge,
        "The entropy over that of equal weights, before and after.",
    ),
    Entry(
        "stream",
        "The second moment of a residual stream grows too much from its first sum to its last: "
        "what the last branches add drowns what came before them. Or one branch adds so much more "
        "than the others that these are lost in it.",
        "branches that keep their scale and read the stream as it is, so that each sum doubles it; "
        "a layer in one branch that is far too wide.",
        "a normalisation before each branch, or a factor of 1/√N (GPT-2: 1/√(2N)) on its last "
        "weights.",
        growing,
        of_report("moments"),
        "Standard deviations over the depth.",
    ),
    Entry(
        "gradients",
        "From the last hidden layer back to the first the gradient's second moment is multiplied "
        "by much less, or much more, than 1: first layers that learn nothing, or are thrown about.",
        "a gain off the critical one, in every layer a little.",
        "a normalisation or a residual sum, orthogonal weights, or the critical start; the report "
        "lists what theory expects of each.",
        planted("all hidden weights × 0.4 at depth ten", scale_all(0.4), depth=10),
        of_report("gradient moments"),
        "The gradients' second moments over the depth.",
    ),
    Entry(
        "examples",
        "To the output layer different inputs have become one: hardly any of the last layer's "
        "power varies over the batch. Second moments may look well all the while, as biases keep "
        "them up.",
        "the ordered phase: a gain below the critical one, biases that outweigh the weights, "
        "sigmoids on top of each other.",
        "a gain at the critical one, smaller biases, a normalisation over the batch, an activation "
        "that is centred.",
        planted("five layers of sigmoid", depth=5, activation="sigmoid"),
        of_report("correlations"),
        "The mean correlation between examples over the depth.",
    ),
    Entry(
        "symmetry",
        "Units with the same weights and the same gradients. They stay the same for ever: two "
        "units do the work of one.",
        "constant or zero hidden weights, layers that were cloned, a copy that was not drawn anew. "
        "Other biases do not tell units apart that look at their input in one direction.",
        "draw the copies anew. Some entropy is what breaks symmetry.",
        planted("one unit's weights, in and out, given to another", copy_unit),
        alike_units,
        "How the weights of units correlate: one pair are copies.",
    ),
    Entry(
        "streams",
        "Two parameters were drawn from the same random numbers, perhaps in other shapes and at "
        "other scales. Layers are then not independent, which every gain assumes.",
        "one seed or key used for two layers.",
        "draw one of them anew; split keys, seed once.",
        planted("one key for two layers of other shapes", reuse_key),
        one_stream,
        "Weights in the order of drawing: a layer that shares its stream with the output gives a "
        "line, another a cloud.",
    ),
    Entry(
        "updates",
        "The first step changes a weight by far too much or too little of its size. log10 of −3 is "
        "customary.",
        "a learning rate that does not fit, or gradients that are too small or too large by one of "
        "the faults above.",
        "mend what else is named first; then the rate (`fanin find-lr`).",
        planted("the start `normal` at depth ten", nothing, "", 10, "tanh", "normal"),
        gauge,
        "log10 of the first update over the weight, the worst layer, before and after.",
    ),
    Entry(
        "first step",
        "What the first step of gradient descent promises, rate × |gradient|², over the loss that "
        "there is. Above 1 it promises more than there is to gain, and goes too far.",
        "a learning rate too large for this start, or a start too wide for this rate.",
        "the prescriptions for the scales, or a lower rate.",
        planted("all hidden weights × 2 at depth ten", scale_all(2.0), "", 10, "relu"),
        gauge,
        "What the first step promises over the loss, before and after.",
    ),
)  # fmt: skip


def mended(example: Example, name: str) -> Check | None:
    """The same check once the prescriptions are applied; None where there are none."""
    if not example.report.prescriptions:
        return None
    example.report.fixed()
    after = example.report.after
    return next((check for check in after.checks if check.name == name), None) if after else None


def section(entry: Entry) -> str:
    example = entry.example()
    check = next(check for check in example.report.checks if check.name == entry.name)
    if check.verdict == "good":
        raise SystemExit(f"the example of {entry.name} is not flagged: {check.text}")
    picture = PICTURES / f"{entry.name.replace(' ', '-')}.svg"
    write_figure(entry.draw(example, check), picture, salt=entry.name)
    at_fault = f" · {', '.join(check.layers[:4])}" if check.layers else ""
    lines = [
        f"## {entry.name}\n",
        f"{entry.means}\n",
        f"- **It comes from** {entry.causes}",
        f"- **What to do:** {entry.do}",
        f"- **Bounds and source:** {bounds(check)}{check.source}.\n",
        f"Planted: {example.words}.\n",
        f"> {check.verdict}{at_fault}: {check.text}\n",
    ]
    if prescriptions := example.report.prescriptions:
        first, rest = prescriptions[0], len(prescriptions) - 1
        more = f" (and {rest} more)" if rest else ""
        lines.append(f"The first prescription: `{first.parameter}`, {first.change}{more}.")
        after = mended(example, entry.name)
        if after:
            lines.append(f"Afterwards the check is {after.verdict}: {after.text}\n")
        else:
            lines.append("\n")
    else:
        lines.append(f"{choices(example.report)}\n")
    lines.append(f"![{entry.caption}](checks/{picture.name})\n")
    lines.append(f"*{entry.caption}*\n")
    return "\n".join(lines)


def choices(report: Report) -> str:
    if report.choices:
        return f"Ways out, in order: {'; '.join(choice.name for choice in report.choices)}."
    return "There is nothing to prescribe for it: the cause is not in the parameters' scales."


def bounds(check: Check) -> str:
    if check.low is not None and check.high is not None:
        return f"good from {check.low:.3g} to {check.high:.3g}. "
    if check.high is not None:
        return f"good up to {check.high:.3g}. "
    return "" if check.low is None else f"good from {check.low:.3g}. "


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    page = "\n".join([INTRODUCTION, *(section(entry) for entry in ENTRIES)])
    (DOCS / "handbook.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
