"""What a search tries: starts by name, then starts of random scales, in networks of each kind."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.networks.activations import nonlinearity_of
from fanin.race import Lane
from fanin.starts import SCHEMES, Rule, Scheme, find_start
from fanin.training import TrainingOptions

# Deviations of biases are drawn around this, as `fanin` has none.
BIAS = 0.1

# Numbers drawn anew where a candidate turns out to be one that there is already.
_TRIES = 100

Signature: TypeAlias = tuple[Any, ...]


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """A start, the network that it is for, and a learning rate.

    The name tells the start and whatever is not as in the search's own network; `drawn` is
    whether its numbers are random.
    """

    name: str
    start: Scheme
    network: CharacterMLP
    lr: float
    drawn: bool = False

    def lane(self, options: TrainingOptions) -> Lane:
        """What races, with options that have another rate and perhaps other steps."""
        return Lane(self.name, self.network, self.start, replace(options, lr=self.lr))

    def describe(self) -> dict[str, Any]:
        """All that decides its numbers, as JSON values."""
        start = asdict(self.start)
        for told in ("summary", "source", "made_for"):
            del start[told]
        network = self.network.describe()
        kinds = {name: network[name] for name in ("activation", "normalisation")}
        return {"name": self.name, **kinds, "lr": self.lr, "start": start}


def candidate(
    start: Scheme, network: CharacterMLP, lr: float, own: CharacterMLP, own_lr: float
) -> Candidate:
    """A candidate of a search whose own network and rate are `own` and `own_lr`."""
    parts = [start.name]
    described, ordinary = network.describe(), own.describe()
    parts += [
        f"{name}={described[name] or 'none'}"
        for name in ("activation", "normalisation")
        if described[name] != ordinary[name]
    ]
    parts += [f"lr={lr:g}"] * (lr != own_lr)
    return Candidate(" ".join(parts), start, network, lr)


def candidates(
    starts: Sequence[Scheme] | None,
    networks: Sequence[CharacterMLP],
    lr: float,
    *,
    within: float,
    fixed_lr: bool,
    seed: int,
) -> Iterator[Candidate]:
    """Candidates without end, each another one; more of them change none of the first.

    First come the starts in the first network (all that the catalogue has, unless given), then
    `fanin` in each other one. Then each is drawn: a network, the gains of hidden and output
    weights, the deviations of embedding and hidden biases, a learning rate. A number is left as
    `fanin` has it half of the time, so that what one role brings is among them, and else drawn
    with its logarithm evenly spread within a factor of `within` of it (of 0.1 for biases). Raises
    OptionError for a start that its network cannot have, and where there is nothing new to draw.
    """
    own = networks[0]
    seen = set[Any]()
    known = _catalogue(own) if starts is None else starts
    first = [candidate(start, own, lr, own, lr) for start in known]
    if starts is None:
        first += [candidate(SCHEMES["fanin"], other, lr, own, lr) for other in networks[1:]]
    for each in first:
        if starts is not None or identity(each) not in seen:
            seen.add(identity(each))
            yield each
    number = 0
    while True:
        for trial in range(_TRIES):
            each = _drawn(
                np.random.default_rng((seed, number, trial)), networks, lr, within, fixed_lr
            )
            if identity(each) not in seen:
                break
        else:
            raise OptionError(
                f"within a factor of {within} there are no more candidates than {len(seen):,}; a "
                "larger factor, or fewer candidates, would do"
            )
        seen.add(identity(each))
        yield each
        number += 1


def signature(start: Scheme, network: CharacterMLP) -> Signature:
    """What a start does to a network: equal for two names of the same thing.

    Raises OptionError where the scheme cannot start the network.
    """
    nonlinearity = nonlinearity_of(network.activation)
    drawn: list[tuple[str, float]] = []
    for parameter in network.parameters:
        rule: Rule = start.rule(parameter)
        before = nonlinearity if parameter.nonlinearity is not None else None
        drawn.append((rule.distribution, round(start.scale(parameter, before), 12)))
    return (*drawn, start.unit_preactivations)


def identity(each: Candidate) -> Any:
    """Equal for two candidates whose runs are the same. OptionError for a start that cannot be."""
    return each.network, each.lr, signature(each.start, each.network)


def _catalogue(network: CharacterMLP) -> list[Scheme]:
    """The starts that the network can have; `constant` is symmetric, and could only lose."""
    found: list[Scheme] = []
    for scheme in SCHEMES.values():
        try:
            signature(scheme, network)
        except OptionError:
            continue
        if scheme.name != "constant":
            found.append(scheme)
    return found


def _drawn(
    generator: np.random.Generator,
    networks: Sequence[CharacterMLP],
    lr: float,
    within: float,
    fixed_lr: bool,
) -> Candidate:
    network = networks[int(generator.integers(len(networks)))]
    centres = {
        "gain": _gain(network),
        "output": _output(),
        "bias": BIAS,
        "embedding": 1.0,
        "lr": lr,
    }
    # Drawn for all, whether kept or not, so that one choice does not change another number.
    kept = dict(zip(centres, generator.random(len(centres)) < 0.5, strict=True))
    factors = within ** generator.uniform(-1.0, 1.0, len(centres))
    drawn = {
        name: float(f"{centre * factor:.3g}")
        for (name, centre), factor in zip(centres.items(), factors, strict=True)
        if not kept[name]
    }
    if not any(parameter.role == "bias" for parameter in network.parameters):
        drawn.pop("bias", None)
    rate = drawn.pop("lr", lr)
    options = ",".join(f"{name}={value:g}" for name, value in drawn.items())
    start = find_start(f"fanin:{options}" if options else "fanin")
    made = candidate(start, network, lr if fixed_lr else rate, networks[0], lr)
    return replace(made, drawn=True)


def _gain(network: CharacterMLP) -> float:
    """The gain that `fanin` gives the last hidden weights: the forward one, or a first layer's."""
    rule = SCHEMES["fanin"].hidden
    hidden = [p for p in network.parameters if p.role in ("hidden", "residual")]
    if not hidden or hidden[-1].nonlinearity is None:
        return 1.0
    return rule.gain_after(nonlinearity_of(network.activation))


def _output() -> float:
    gain = SCHEMES["fanin"].output.gain
    assert not isinstance(gain, str)
    return gain
