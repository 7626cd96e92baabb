"""The numbers that step zero judges, by the side on which they become bad; and a score of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fanin.diagnosis.thresholds import THRESHOLDS, Limit
from fanin.race.reliability import Ended

# In the place of the logarithm of zero, and of what is not finite.
EXTREME = 100.0

Value: TypeAlias = Callable[[Ended], float | None]
Where: TypeAlias = Literal["above", "below"]


@final
@dataclass(frozen=True)
class Bounds:
    """Where one side of a judged number becomes suspect, and where bad; infinite for never."""

    suspect: float
    bad: float


NEVER = Bounds(math.inf, math.inf)


@final
@dataclass(frozen=True)
class Side:
    """One side of a number that a check judges.

    `level` grows as things get worse; `shown` makes a level the number that people read.
    """

    name: str
    level: Callable[[Ended], float]
    shipped: Bounds
    shown: Callable[[float], float]


def severity(level: float, bounds: Bounds) -> float:
    """1 where suspect begins and 2 where bad does, in proportion between and beyond."""
    width = bounds.bad - bounds.suspect
    if math.isinf(width) or math.isnan(width) or width <= 0:
        return 1.0 * (level >= bounds.suspect) + 1.0 * (level >= bounds.bad)
    return min(max(1.0 + (level - bounds.suspect) / width, 0.0), EXTREME)


def shipped_score(network: Ended) -> float:
    """The severity of the worst side at the limits as they are; not finite is beyond all."""
    if "finite" in network.judgement.bad:
        return EXTREME
    return max(severity(side.level(network), side.shipped) for side in SIDES)


def _checked(check: str) -> Value:
    def value(network: Ended) -> float | None:
        return next((each.value for each in network.judgement.checks if each.name == check), None)

    return value


def _numbered(name: str) -> Value:
    return lambda network: network.judgement.numbers.get(name)


def _loss_above_uniform(network: Ended) -> float | None:
    value = _checked("loss")(network)
    return None if value is None else value - math.log(network.family.network["vocabulary"])


def _twins(network: Ended) -> float | None:
    """No share at all is no level: the limit stands at the first pair of copies."""
    return _checked("symmetry")(network) or None


def _logarithm(value: float) -> float:
    return math.log(value) if value > 0 else -EXTREME


def _same(value: float) -> float:
    return value


def _side(
    name: str, value: Value, where: Where, limit: Limit | None = None, *, ratio: bool = False
) -> Side:
    """A side of a number; one without a limit is never suspect."""
    sign = 1 if where == "above" else -1
    scale: Callable[[float], float] = _logarithm if ratio else _same
    back: Callable[[float], float] = math.exp if ratio else _same

    def level(network: Ended) -> float:
        found = value(network)
        if found is None:
            return -EXTREME
        found = scale(found)
        return sign * found if math.isfinite(found) else EXTREME

    ends = None if limit is None else limit.above if where == "above" else limit.below
    bounds = NEVER if ends is None else Bounds(sign * scale(ends[0]), sign * scale(ends[1]))
    return Side(f"{name}, {where}", level, bounds, lambda at: back(sign * at))


_T = THRESHOLDS
SIDES: tuple[Side, ...] = (
    _side("loss above log V", _loss_above_uniform, "above", _T.loss),
    _side("logits' deviation", _checked("logits"), "above", _T.logits),
    _side("class offset", _numbered("class offset"), "above", _T.class_offset),
    _side("saturated share", _checked("saturation"), "above", _T.saturation),
    _side("dead units' share", _checked("dead units"), "above", _T.dead),
    _side("gain ratio", _checked("gain"), "below", _T.gain_ratio, ratio=True),
    _side("gain ratio", _checked("gain"), "above", _T.gain_ratio, ratio=True),
    _side("output gain", _numbered("output gain"), "above", _T.output_gain, ratio=True),
    _side("input scale", _checked("input scale"), "above", _T.input_scale, ratio=True),
    _side("gradient product", _checked("gradients"), "below", _T.gradient_product, ratio=True),
    _side("gradient product", _checked("gradients"), "above", _T.gradient_product, ratio=True),
    _side("varying share", _checked("examples"), "below", _T.varying_share, ratio=True),
    _side("share of twins", _twins, "above", _T.twins),
    _side("least update", _numbered("least update"), "below", _T.update),
    _side("largest update", _numbered("largest update"), "above", _T.update),
    _side("first step's promise", _checked("first step"), "below", _T.first_step, ratio=True),
    _side("first step's promise", _checked("first step"), "above", _T.first_step, ratio=True),
)
"""All judged numbers but those that are yes or no."""


def _rate_factor(network: Ended) -> float | None:
    return network.network.rate_factor


RATE_SIDES: tuple[Side, ...] = (
    _side("rate over the finder's", _rate_factor, "below", ratio=True),
    _side("rate over the finder's", _rate_factor, "above", ratio=True),
)
"""What the finder says of the rate, which is known after some steps only."""
