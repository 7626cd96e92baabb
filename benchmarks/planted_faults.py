"""Faults planted into healthy networks: is each found, and is the layer named where it is?

`python -m benchmarks.planted_faults` goes through widths, depths, activations and some seeds (about
ten minutes on one core) and prints how many of each fault were found and rightly named.
`tests/test_planted_faults.py` runs a part of them.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.page import put_part

from fanin.autograd import IndexRangeError
from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.report import Report
from fanin.networks import CharacterMLP, initial_statistics
from fanin.starts import find_start

WIDTHS = (32, 64, 128, 256, 512)
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One way to spoil a start. `plant` changes parameters in place; `layer` is spoilt."""

    name: str
    plant: Callable[[Parameters, str, np.random.Generator], None]
    depths: tuple[int, ...] = (1, 2, 5)
    activations: tuple[str, ...] = ("tanh", "relu", "gelu", "selu")
    layer: str = "hidden"
    """"hidden": one hidden layer by chance; "all": all of them; or the layer's own name"""
    start: str = "fanin"
    checks: tuple[str, ...] = ()
    """the checks of which one at least must find it"""
    also: tuple[str, ...] = ()
    """layers that share in the fault"""


@dataclass(frozen=True)
class Trial:
    """A fault in one network."""

    fault: Fault
    network: CharacterMLP
    layer: str
    seed: int

    def __str__(self) -> str:
        sizes = self.network.hidden
        return (
            f"{self.fault.name} in {self.layer}, {len(sizes)} × {sizes[0]} "
            f"{self.network.activation}, seed {self.seed}"
        )


def scale(factor: float, kind: str = "weight") -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        parameters[f"{layer}.{kind}"] = parameters[f"{layer}.{kind}"] * factor

    return plant


def scale_all(factor: float) -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        for name in parameters:
            if name.startswith("hidden") and name.endswith("weight"):
                parameters[name] = parameters[name] * factor

    return plant


def shift_one_class(by: float) -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        bias = parameters["output.bias"]
        parameters["output.bias"] = bias.at[int(chance.integers(bias.size))].add(by)

    return plant


def fill(value: float) -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        name = f"{layer}.weight"
        parameters[name] = jnp.full_like(parameters[name], value)

    return plant


def copy_unit(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
    """One unit's weights, in and out, given to another."""
    weight = parameters[f"{layer}.weight"]
    first, second = chance.choice(weight.shape[1], 2, replace=False).tolist()
    parameters[f"{layer}.weight"] = weight.at[:, second].set(weight[:, first])
    following = f"hidden.{int(layer.split('.')[1]) + 1}.weight"
    following = following if following in parameters else "output.weight"
    onward = parameters[following]
    parameters[following] = onward.at[second].set(onward[first])


def reuse_key(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
    """This layer and another, of another shape and scale, drawn with one key."""
    key = jax.random.key(int(chance.integers(2**31)))
    for name in ("output.weight", f"{layer}.weight"):
        old = parameters[name]
        parameters[name] = jax.random.normal(key, old.shape) * old.std()


def lower_biases(share: float) -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        bias = parameters[f"{layer}.bias"]
        units = chance.choice(bias.size, max(1, round(share * bias.size)), replace=False)
        parameters[f"{layer}.bias"] = bias.at[units].set(-10.0)

    return plant


def put(value: float) -> Callable[..., None]:
    def plant(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
        weight = parameters[f"{layer}.weight"]
        place = tuple(int(chance.integers(size)) for size in weight.shape)
        parameters[f"{layer}.weight"] = weight.at[place].set(value)

    return plant


def nothing(parameters: Parameters, layer: str, chance: np.random.Generator) -> None:
    pass


NETWORKS = (
    (1, "tanh"),
    (1, "gelu"),
    (2, "relu"),
    (2, "selu"),
    (5, "tanh"),
    (5, "relu"),
    (5, "gelu"),
    (10, "tanh"),
    (10, "relu"),
    (10, "selu"),
    (10, "identity"),
    (20, "gelu"),
    (20, "relu"),
)
"""Depths and activations: each kind of fault has some at every width."""

RELU = ("relu",)
FAULTS = (
    Fault("output × 30", scale(30.0), layer="output", checks=("loss", "logits", "gain")),
    Fault("output bias off by 5", shift_one_class(5.0), layer="output", checks=("logits",)),
    Fault("output bias off by -5", shift_one_class(-5.0), layer="output", checks=("logits",)),
    Fault("W × 5", scale(5.0), checks=("gain", "saturation")),
    Fault("W × 0.2", scale(0.2), depths=(10,), checks=("gain",)),
    Fault("constant layer", fill(0.01), checks=("symmetry",)),
    Fault("layer of zeros", fill(0.0), checks=("symmetry",)),
    Fault("two units copied", copy_unit, checks=("symmetry",)),
    Fault("key used twice", reuse_key, checks=("streams",), also=("output",)),
    Fault("dead relus", lower_biases(1.0), activations=RELU, checks=("dead units",)),
    Fault("a quarter of relus dead", lower_biases(0.25), activations=RELU, checks=("dead units",)),
    Fault("vanishing depth", scale_all(0.4), depths=(10, 20), layer="all", checks=("gradients",)),
    Fault(
        "exploding depth",
        scale_all(2.0),
        depths=(10, 20),
        activations=("relu", "gelu", "selu", "identity"),
        layer="all",
        checks=("gradients",),
    ),
    Fault("N(0, 1) at depth", nothing, (10,), ("tanh",), "all", "normal", ("saturation",)),
    Fault("NaN in one weight", put(float("nan")), checks=("finite",)),
    Fault("infinity in one weight", put(float("inf")), layer="output", checks=("finite",)),
    Fault("embedding × 50", scale(50.0), layer="embedding", checks=("input scale", "saturation")),
)


def trials(
    widths: tuple[int, ...] = WIDTHS, seeds: int = 3, faults: tuple[Fault, ...] = FAULTS
) -> Iterator[Trial]:
    """Every fault in every network that it is meant for."""
    for width, (depth, activation) in product(widths, NETWORKS):
        network = CharacterMLP(27, hidden=(width,) * depth, activation=activation)
        for fault, seed in product(faults, range(seeds)):
            if depth not in fault.depths or activation not in fault.activations:
                continue
            chance = np.random.default_rng([seed, width, depth])
            # A first layer after which the scale recovers by itself is no fault of W × 0.2.
            first = 1 if fault.depths == (10,) else 0
            layer = f"hidden.{chance.integers(first, depth)}" if fault.layer == "hidden" else ""
            yield Trial(fault, network, layer or fault.layer, seed)


def examples(count: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Contexts and targets by chance from the training split of the bundled names."""
    corpus = Corpus.of(bundled_names())
    some = np.random.default_rng(0).permutation(len(corpus.train.targets))[:count]
    return corpus.train.contexts[some].astype(np.int32), corpus.train.targets[some].astype(np.int32)


def spoilt(trial: Trial) -> Parameters:
    """The start of a trial with its fault in it."""
    start = find_start(trial.fault.start)
    parameters = dict(start(trial.network, jax.random.key(trial.seed)))
    trial.fault.plant(parameters, trial.layer, np.random.default_rng([trial.seed, 1]))
    return parameters


def shortcoming(trial: Trial, report: Report) -> str:
    """What the report of a trial lacks; "" where it is right."""
    flagged = [check for check in report.checks if check.verdict != "good"]
    if not flagged:
        return "missed"
    if not {check.name for check in flagged} & set(trial.fault.checks):
        return f"found only by {', '.join(check.name for check in flagged)}"
    named = {layer for check in flagged for layer in check.layers}
    if trial.fault.layer == "all":
        most = {layer for layer in named if layer.startswith("hidden")}
        return "" if len(most) >= len(trial.network.hidden) / 2 else f"named only {sorted(named)}"
    if named != {trial.layer, *trial.fault.also}:
        return f"named {', '.join(sorted(named)) or 'no layer'}"
    return ""


def infinite_statistic(width: int) -> str:
    """What a report lacks of a batch-normalised network with an infinity among its statistics."""
    contexts, targets = examples(256)
    network = CharacterMLP(27, hidden=(width,) * 3, normalisation="batch")
    parameters = dict(find_start("fanin")(network, jax.random.key(0)))
    statistics = dict(initial_statistics(network, parameters, contexts))
    name = "hidden.1.normalisation.variance"
    statistics[name] = statistics[name].at[0].set(jnp.inf)
    report = diagnose(network, parameters, contexts, targets, statistics=statistics)
    finite = report.check("finite")
    if finite.verdict != "bad":
        return "missed"
    return "" if finite.layers == ("hidden.1",) and name in finite.text else f"said: {finite.text}"


def label_out_of_range(width: int) -> str:
    """What is wrong with the answer to a label that no class has: it is to be an error."""
    contexts, targets = examples(256)
    network = CharacterMLP(27, hidden=(width,))
    parameters = dict(find_start("fanin")(network, jax.random.key(0)))
    try:
        diagnose(network, parameters, contexts, np.where(np.arange(256) == 9, 27, targets))
    except IndexRangeError as error:
        return "" if "27" in str(error) else f"said: {error}"
    return "missed"


OTHERS: dict[str, Callable[[int], str]] = {
    "infinity in a statistic": infinite_statistic,
    "label out of range (an error)": label_out_of_range,
}
"""Faults that are not of parameters: each tries one network of a width."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--page", type=Path, help="write the table into this page")
    asked = options.parse_args()
    contexts, targets = examples()
    tried, right = Counter[tuple[str, int]](), Counter[tuple[str, int]]()

    def count(name: str, width: int, what: object, wrong: str) -> None:
        tried[name, width] += 1
        right[name, width] += not wrong
        if wrong:
            print(f"{what}: {wrong}", flush=True)

    for width in asked.widths:
        for trial in trials((width,), asked.seeds):
            report = diagnose(trial.network, spoilt(trial), contexts, targets)
            count(trial.fault.name, width, trial, shortcoming(trial, report))
        for name, attempt in OTHERS.items():
            count(name, width, f"{name}, width {width}", attempt(width))
        jax.clear_caches()  # each network has programs of its own
    table = [f"| fault | {' | '.join(f'width {width}' for width in asked.widths)} |"]
    table.append("|---" * (1 + len(asked.widths)) + "|")
    for name in dict.fromkeys(name for name, _ in tried):
        cells = (f"{right[name, width]} of {tried[name, width]}" for width in asked.widths)
        table.append(f"| {name} | {' | '.join(cells)} |")
    total = f"In all {tried.total():,} planted, {right.total():,} found with the right layer named."
    text = "\n".join([*table, "", total])
    print(text)
    if asked.page:
        put_part(asked.page, "planted faults", text)
    return 0 if right == tried else 1


if __name__ == "__main__":
    sys.exit(main())
