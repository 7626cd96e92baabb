"""Faults planted into healthy networks: is each found, and is the layer named where it is?

`python benchmarks/planted_faults.py` goes through all widths, depths, activations and some seeds
(about ten minutes on one core) and prints how many of each fault were found and rightly named.
`tests/test_planted_faults.py` runs a part of them.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fanin.corpus import Corpus, bundled_names
from fanin.diagnosis.of_network import diagnose
from fanin.diagnosis.report import Report
from fanin.networks import CharacterMLP, Network, initial_statistics
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
    network: Network
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
    sizes = product(widths, (1, 2, 5, 10, 20), ("tanh", "relu", "gelu", "selu", "identity"))
    for width, depth, activation in sizes:
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


def infinite_statistic(width: int) -> tuple[Network, Parameters, dict[str, Any], str]:
    """A batch-normalised network with an infinity among its statistics, and the layer it is in."""
    network = CharacterMLP(27, hidden=(width,) * 3, normalisation="batch")
    parameters = dict(find_start("fanin")(network, jax.random.key(0)))
    statistics = initial_statistics(network, parameters, examples(64)[0])
    name = "hidden.1.normalisation.variance"
    statistics[name] = statistics[name].at[0].set(jnp.inf)
    return network, parameters, statistics, "hidden.1"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    options.add_argument("--seeds", type=int, default=3)
    asked = options.parse_args()
    contexts, targets = examples()
    tried, right = Counter[str](), Counter[str]()
    network = None
    for trial in trials(tuple(asked.widths), asked.seeds):
        if network is not None and trial.network != network:
            jax.clear_caches()  # each network has programs of its own
        network = trial.network
        report = diagnose(trial.network, spoilt(trial), contexts, targets)
        wrong = shortcoming(trial, report)
        tried[trial.fault.name] += 1
        right[trial.fault.name] += not wrong
        if wrong:
            print(f"{trial}: {wrong}", flush=True)
    print("\n| fault | planted | found, and the right layer named |\n|---|---|---|")
    for name in tried:
        print(f"| {name} | {tried[name]} | {right[name]} |")


if __name__ == "__main__":
    main()
