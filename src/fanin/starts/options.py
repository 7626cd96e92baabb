"""Options in a start's name: `kaiming-normal:gain=1`, `orthogonal:gain=1.6,output=0.1`."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from fanin.errors import OptionError
from fanin.starts.schemes import ZERO, Mode, Rule, Scheme


@dataclass(frozen=True)
class Option:
    """One setting of any scheme.

    `read` makes the setting of its text, or raises ValueError; `apply` makes the changed scheme,
    or raises ValueError with the reason why that scheme does not take it.
    """

    name: str
    summary: str
    takes: str
    read: Callable[[str], Any]
    apply: Callable[[Scheme, Any], Scheme]


def with_options(scheme: Scheme, options: str) -> Scheme:
    """The scheme changed by options such as "gain=1.6,output=0.1", and named with them.

    The name has them in one order and one spelling, so that `find_start` gives an equal scheme for
    it. Raises OptionError, naming the start and the option, for what cannot be.
    """
    settings: dict[str, Any] = {}
    for part in options.split(","):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        option = _find_option(scheme, name)
        if not (equals and text):
            raise OptionError(
                f"start {scheme.name}: the option {name} has no value; it takes {option.takes}: "
                f"{scheme.name}:{name}=…"
            )
        if name in settings:
            raise OptionError(f"start {scheme.name}: {name} is given twice; once will do")
        try:
            settings[name] = option.read(text)
        except ValueError:
            raise OptionError(
                f"start {scheme.name}: {name} is {text!r}; it takes {option.takes}"
            ) from None
    if "bias" in settings and "bias_variance" in settings:
        raise OptionError(
            f"start {scheme.name}: bias and bias_variance say the same thing; give one of them"
        )
    changed, given = scheme, list[str]()
    for name, option in OPTIONS.items():
        if name in settings:
            try:
                changed = option.apply(changed, settings[name])
            except ValueError as error:
                raise OptionError(f"start {scheme.name} takes no {name}: {error}") from None
            given.append(f"{name}={_text(settings[name])}")
    return replace(changed, name=f"{scheme.name}:{','.join(given)}")


def _find_option(scheme: Scheme, name: str) -> Option:
    if name in OPTIONS:
        return OPTIONS[name]
    near = difflib.get_close_matches(name, OPTIONS, 1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise OptionError(
        f"start {scheme.name}: the option {name!r} is not known{hint} "
        f"There are {', '.join(OPTIONS)}: {scheme.name}:gain=1.5,output=0.1, for one."
    )


def _text(setting: Any) -> str:
    return repr(setting).removesuffix(".0") if isinstance(setting, float) else str(setting)


def _number(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError
    return number + 0.0  # never -0


def _gain(text: str) -> float | str:
    return text if text in ("forward", "critical") else _number(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return read


def _change_weights(scheme: Scheme, **changes: Any) -> Scheme:
    """The hidden rule changed, and the output's where the scheme treats all weights alike."""
    hidden = replace(scheme.hidden, **changes)
    alike = scheme.output == scheme.hidden
    return replace(scheme, hidden=hidden, output=hidden if alike else scheme.output)


def _apply_mode(scheme: Scheme, mode: Mode) -> Scheme:
    if scheme.hidden.distribution == "orthogonal":
        raise ValueError("an orthogonal matrix is scaled by its gain alone")
    return _change_weights(scheme, mode=mode)


def _apply_gain(scheme: Scheme, gain: Any) -> Scheme:
    if scheme.unit_preactivations:
        raise ValueError("it scales the hidden weights by what it measures")
    if scheme.hidden.gain == "critical":
        raise ValueError("theory gives its gain, for the variance of the biases")
    return _change_weights(scheme, gain=gain)


def _apply_output(scheme: Scheme, gain: Any) -> Scheme:
    if scheme.output == ZERO:
        raise ValueError("its output is zero")
    return replace(scheme, output=replace(scheme.output, gain=gain))


def _apply_bias(scheme: Scheme, deviation: float) -> Scheme:
    return replace(scheme, bias=Rule("normal", deviation) if deviation else ZERO)


def _apply_bias_variance(scheme: Scheme, variance: float) -> Scheme:
    return _apply_bias(scheme, math.sqrt(variance))


def _apply_embedding(scheme: Scheme, deviation: float) -> Scheme:
    return replace(scheme, embedding=Rule("normal", deviation))


def _apply_residual(scheme: Scheme, kind: str) -> Scheme:
    return replace(scheme, scale_residual=kind == "scaled")


_NUMBER = "a number from 0 up"
_GAIN = f"{_NUMBER}, or forward or critical (from the activation before the layer)"

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "mode",
            "what weights are divided by the root of",
            f"one of {', '.join(get_args(Mode))}",
            _one_of(*get_args(Mode)),
            _apply_mode,
        ),
        Option(
            "gain",
            "of hidden weights, the first layer's with them; and of the output, "
            "where the start treats all weights alike",
            _GAIN,
            _gain,
            _apply_gain,
        ),
        Option("output", "gain of the output weights", _GAIN, _gain, _apply_output),
        Option("bias", "standard deviation of normal hidden biases", _NUMBER, _number, _apply_bias),
        Option("bias_variance", "its square", _NUMBER, _number, _apply_bias_variance),
        Option(
            "embedding",
            "standard deviation of a normal embedding",
            _NUMBER,
            _number,
            _apply_embedding,
        ),
        Option(
            "residual",
            "whether what residual branches add is divided by √(2 · branches)",
            "one of scaled, plain",
            _one_of("scaled", "plain"),
            _apply_residual,
        ),
    )
}
"""The options by name, in the order in which they are applied and written."""
