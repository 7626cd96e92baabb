"""A verdict in words: the same in the terminal, on the pages and in the files."""

from math import ceil, log10

from fanin.race.comparison import Comparison
from fanin.race.intervals import Interval
from fanin.race.standings import Standing, Standings


def verdict_text(standing: Standing) -> str:
    """Such as "better by 0.021 nats (0.012 to 0.030, 32 pairs)"."""
    comparison = standing.comparison
    if comparison is None:
        return "reference"
    if comparison.verdict == "identical":
        return f"identical to {comparison.reference} ({_pairs(comparison)})"
    if comparison.verdict == "equivalent":
        interval = _interval(comparison.equivalence_interval)
        return f"equivalent within {comparison.margin:g} nats ({interval}{_pairs(comparison)})"
    if comparison.verdict == "undecided":
        return "; ".join([f"undecided: {_open(comparison)}", *_what_would_do(comparison)])
    if comparison.basis == "divergence":
        return f"{comparison.verdict}: {_divergence(comparison)}; {_difference(comparison)}"
    text = f"{comparison.verdict} by {_size(comparison)}"
    if comparison.within_margin:
        text += f", less than the margin of {comparison.margin:g}"
    return f"{text}; {_divergence(comparison)}" if _some_diverged(comparison) else text


def notes(standings: Standings) -> tuple[str, ...]:
    """What holds for all verdicts of a race, a sentence each."""
    comparisons = len(standings.starts) - 1
    level, in_all = 100 * standings.comparison_level, 100 * standings.level
    found = [
        "Intervals are over initialisation and mini-batch order; words and split are fixed.",
        f"Beside a mean stands half of its t interval at level {in_all:g} %.",
    ]
    if comparisons:
        found.append(
            f"Differences to {standings.reference} are paired by seed, in nats per symbol of the "
            f"test words, negative for better; t intervals at level {level:.5g} % "
            f"({counted(comparisons, 'comparison')}, {in_all:g} % in all)."
        )
    if any(start.diverged for start in standings.starts):
        found.append(
            "Diverged: the loss is not finite, or at the end worse than a uniform model's "
            f"{standings.uniform_loss:.4f}. Losses are compared where both runs finished."
        )
    if standings.interim:
        found.append(
            "Interim: the race is not through. Who looks often sees a difference by chance more "
            "often than the level says."
        )
    return tuple(found)


def counted(number: int, noun: str) -> str:
    """ "1 seed", "2 seeds"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def nats(value: float, half_width: float = 0.001) -> str:
    """A loss to the first figure of its interval's half width, and to three decimals at least."""
    decimals = min(max(3, ceil(-log10(half_width))), 8) if half_width > 0 else 3
    # A difference that is zero to these decimals has no sign.
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _interval(interval: Interval | None, sign: int = 1) -> str:
    """ "0.012 to 0.030, ", the other way round where the sign is −1; empty for none."""
    if interval is None:
        return ""
    half = (interval.high - interval.low) / 2
    low, high = sorted((sign * interval.low, sign * interval.high))
    if low * high > 0:  # an end that is not zero is not shown as zero
        half = min(half, abs(low), abs(high))
    return f"{nats(low, half)} to {nats(high, half)}, "


def _half(comparison: Comparison) -> float:
    interval = comparison.interval
    return 0.0 if interval is None else (interval.high - interval.low) / 2


def _pairs(comparison: Comparison) -> str:
    count = counted(comparison.pairs, "pair")
    return f"the {count} where both finished" if _some_diverged(comparison) else count


def _size(comparison: Comparison) -> str:
    difference = comparison.difference or 0.0
    sign = -1 if difference < 0 else 1
    interval = _interval(comparison.interval, sign)
    size = nats(abs(difference), _half(comparison))
    return f"{size} nats ({interval}{_pairs(comparison)})"


def _difference(comparison: Comparison) -> str:
    if comparison.difference is None:
        return "no pair where both finished"
    interval = _interval(comparison.interval) or "no interval, "
    size = nats(comparison.difference, _half(comparison))
    return f"difference {size} nats ({interval}{_pairs(comparison)})"


def _some_diverged(comparison: Comparison) -> bool:
    return comparison.divergence.start + comparison.divergence.reference > 0


def _divergence(comparison: Comparison) -> str:
    found = comparison.divergence
    return (
        f"diverged in {found.start} of {found.pairs} runs, {comparison.reference} in "
        f"{found.reference} (p = {found.p:.2g})"
    )


def _open(comparison: Comparison) -> str:
    if not comparison.divergence.pairs:
        return "no pair is through"
    if not _some_diverged(comparison):
        return _difference(comparison)
    joint = ", but " if comparison.basis == "divergence" else "; "
    return f"{_difference(comparison)}{joint}{_divergence(comparison)}"


def _what_would_do(comparison: Comparison) -> list[str]:
    if comparison.basis == "losses" and comparison.pairs == 1:
        return ["give two seeds or more"]
    found: list[str] = []
    if comparison.basis == "losses" and comparison.smallest_difference:
        smallest = nats(comparison.smallest_difference, comparison.smallest_difference)
        found.append(f"these pairs could have shown {smallest}")
    if comparison.seeds_needed is not None:
        found.append(f"about {comparison.seeds_needed:,} seeds would do")
    return found
