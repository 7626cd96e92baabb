"""The starts that are known by name."""

import difflib
from collections.abc import Mapping

from fanin.errors import OptionError
from fanin.starts.schemes import STANDARD_NORMAL, Rule, Scheme

SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "fanin",
            "the house's own: exact gain for the activation before each layer, 1 for the first, "
            "near-uniform output, zero biases",
            "He et al. 2015, section 2.2, with the gain of any activation by quadrature",
            hidden=Rule("normal", "forward", "fan_in"),
            output=Rule("normal", 0.1, "fan_in"),
            scale_residual=True,
        ),
        Scheme(
            "normal",
            "everything N(0, 1): the bad start of the lesson",
            "makemore, part 3",
            hidden=STANDARD_NORMAL,
            output=STANDARD_NORMAL,
            bias=STANDARD_NORMAL,
            output_bias=STANDARD_NORMAL,
        ),
        Scheme(
            "uniform-logits",
            "normal with the output ×0.01 and its bias zero, so that the logits are near uniform",
            "makemore, part 3",
            hidden=STANDARD_NORMAL,
            output=Rule("normal", 0.01),
            bias=STANDARD_NORMAL,
        ),
        Scheme(
            "fan-in",
            "every weight N(0, 1/fan-in), zero biases",
            "LeCun et al. 1998, Efficient BackProp, equation 16",
            hidden=Rule("normal", 1.0, "fan_in"),
            output=Rule("normal", 1.0, "fan_in"),
        ),
        Scheme(
            "published",
            "5/3 over √fan-in on every hidden layer, biases ×0.01, output ×0.01 with bias zero",
            "makemore, part 3",
            hidden=Rule("normal", 5 / 3, "fan_in"),
            output=Rule("normal", 0.01),
            bias=Rule("normal", 0.01),
        ),
    )
}


def find_start(name: str) -> Scheme:
    """The scheme of that name; OptionError with the nearest name where there is none."""
    if name in SCHEMES:
        return SCHEMES[name]
    near = difflib.get_close_matches(name, SCHEMES, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise OptionError(f"start {name!r} is not known; {hint}There are {', '.join(SCHEMES)}.")
