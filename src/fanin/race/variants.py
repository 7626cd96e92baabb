"""Axes: whatever is a number or a name of the experiment, varied over the lanes of a race."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.race.lanes import Lane, crossed
from fanin.starts import OPTIONS, find_start


@final
@dataclass(frozen=True)
class Axis:
    """One thing that lanes can differ in; `vary` makes the variant, or raises ValueError."""

    name: str
    summary: str
    read: Callable[[str], Any]
    vary: Callable[[Lane, Any], Lane]


def with_axis(lanes: Sequence[Lane], name: str, values: Sequence[Any]) -> list[Lane]:
    """Every lane with every value, which may be text; named `fanin depth=2`.

    Raises OptionError, naming the axis, for what is not known or does not fit a lane.
    """
    axis = AXES.get(name)
    if axis is None:
        near = difflib.get_close_matches(name, AXES, 1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise OptionError(f"the axis {name!r} is not known; {hint} {', '.join(AXES)}")
    if not values:
        raise OptionError(f"the axis {name} has no values; give some: {name}=…,…")
    read: list[Any] = []
    for value in values:
        try:
            read.append(axis.read(value) if isinstance(value, str) else value)
        except ValueError:
            raise OptionError(f"the axis {name} takes {axis.summary}; found {value!r}") from None
    return crossed(lanes, name, read, lambda lane, value: _varied(axis, lane, value))


def _varied(axis: Axis, lane: Lane, value: Any) -> Lane:
    try:
        return axis.vary(lane, value)
    except OptionError as error:
        raise OptionError(f"the axis {axis.name}={value} of {lane.name}: {error}") from None


def _start(lane: Lane, name: str) -> Lane:
    return replace(lane, start=find_start(name))


def _option_of_start(option: str) -> Callable[[Lane, Any], Lane]:
    def vary(lane: Lane, value: Any) -> Lane:
        base, _, given = lane.start.name.partition(":")
        kept = [part for part in given.split(",") if part and part.split("=")[0] != option]
        return _start(lane, f"{base}:{','.join([*kept, f'{option}={value}'])}")

    return vary


def _setting(name: str) -> Callable[[Lane, Any], Lane]:
    return lambda lane, value: replace(lane, options=replace(lane.options, **{name: value}))


def _network(lane: Lane) -> CharacterMLP:
    if not isinstance(lane.network, CharacterMLP):
        raise OptionError(
            f"it is an axis of a CharacterMLP, not of a {type(lane.network).__name__}"
        )
    return lane.network


def _size(name: str) -> Callable[[Lane, Any], Lane]:
    return lambda lane, value: replace(lane, network=replace(_network(lane), **{name: value}))


def _depth(lane: Lane, depth: int) -> Lane:
    hidden = _network(lane).hidden
    if len(set(hidden)) != 1:
        raise OptionError(f"depth repeats a hidden layer of one size; found {hidden}")
    return _size("hidden")(lane, hidden[:1] * depth)


def _width(lane: Lane, width: int) -> Lane:
    return _size("hidden")(lane, (width,) * len(_network(lane).hidden))


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _normalisation(text: str) -> str | None:
    return None if text == "none" else text


_NUMBERS, _COUNTS = "numbers", "whole numbers from 1 up"

AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("start", "names of starts", str, _start),
        *(
            Axis(name, OPTIONS[name].takes, str, _option_of_start(name))
            for name in ("gain", "output", "mode", "bias", "bias_variance")
        ),
        Axis("lr", _NUMBERS, float, _setting("lr")),
        Axis("optimiser", "sgd, adam or adamw", str, _setting("optimiser")),
        Axis("momentum", _NUMBERS, float, _setting("momentum")),
        Axis("weight_decay", _NUMBERS, float, _setting("weight_decay")),
        Axis("schedule", "step, cosine or constant", str, _setting("schedule")),
        Axis("warm_up", "whole numbers", int, _setting("warm_up")),
        Axis("batch", _COUNTS, _count, _setting("batch")),
        Axis("activation", "names of activations", str, _size("activation")),
        Axis("normalisation", "none, batch or layer", _normalisation, _size("normalisation")),
        Axis("depth", _COUNTS, _count, _depth),
        Axis("width", _COUNTS, _count, _width),
        Axis("embedding", _COUNTS, _count, _size("embedding")),
    )
}
"""The axes by name."""
