"""The starts that are known by name."""

import difflib
from collections.abc import Mapping
from dataclasses import replace

from fanin.errors import OptionError
from fanin.starts.options import with_options
from fanin.starts.scheme_file import file_and_options, load_scheme
from fanin.starts.schemes import STANDARD_NORMAL, ZERO, Rule, Scheme

_FANIN = Scheme(
    "fanin",
    "the house's own: exact gain for the activation before each layer, 1 for the first, "
    "near-uniform output, zero biases",
    "He et al. 2015, section 2.2, with the gain of any activation by quadrature",
    hidden=Rule("normal", "forward", "fan_in"),
    output=Rule("normal", 0.1, "fan_in"),
    scale_residual=True,
)


def _alike(name: str, summary: str, source: str, weights: Rule) -> Scheme:
    """A scheme with one rule for all weights, and zero biases."""
    return Scheme(name, summary, source, hidden=weights, output=weights)


# What a library of that name leaves to the user, biases and embedding, is zero and N(0, 1).
SCHEMES: Mapping[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        _FANIN,
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
        _alike(
            "fan-in",
            "every weight N(0, 1/fan-in), zero biases",
            "LeCun et al. 1998, Efficient BackProp, equation 16",
            Rule("normal", 1.0, "fan_in"),
        ),
        Scheme(
            "published",
            "5/3 over √fan-in on every hidden layer, biases ×0.01, output ×0.01 with bias zero",
            "makemore, part 3",
            hidden=Rule("normal", 5 / 3, "fan_in"),
            output=Rule("normal", 0.01),
            bias=Rule("normal", 0.01),
        ),
        _alike(
            "kaiming-normal",
            "every weight N(0, 2/fan-in), as torch.nn.init does by default: relu's √2, whatever "
            "the activation",
            "He et al. 2015, Delving Deep into Rectifiers, equation 10",
            Rule("normal", 2**0.5, "fan_in"),
        ),
        _alike(
            "kaiming-uniform",
            "every weight uniform within ±√(6/fan-in), as torch.nn.init does by default",
            "He et al. 2015, Delving Deep into Rectifiers, equation 10",
            Rule("uniform", 2**0.5, "fan_in"),
        ),
        _alike(
            "glorot-normal",
            "every weight N(0, 2/(fan-in + fan-out)), as torch.nn.init.xavier_normal_ (not "
            "truncated, as it is in JAX)",
            "Glorot and Bengio 2010, equation 12",
            Rule("normal", 1.0, "average"),
        ),
        _alike(
            "glorot-uniform",
            "every weight uniform within ±√(6/(fan-in + fan-out)), as torch.nn.init",
            "Glorot and Bengio 2010, equation 16",
            Rule("uniform", 1.0, "average"),
        ),
        _alike(
            "lecun-normal",
            "the same distribution as fan-in: N(0, 1/fan-in), not truncated as JAX's lecun_normal",
            "LeCun et al. 1998, Efficient BackProp, equation 16",
            Rule("normal", 1.0, "fan_in"),
        ),
        _alike(
            "orthogonal",
            "every weight orthogonal, times its gain; where the fans differ, its rows or columns "
            "are, as torch.nn.init",
            "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning",
            Rule("orthogonal", 1.0),
        ),
        Scheme(
            "torch-default",
            "what nn.Linear and nn.Embedding do: weights and biases uniform within ±1/√fan-in, "
            "embedding N(0, 1)",
            "PyTorch, nn.Linear: kaiming_uniform_ with a = √5",
            hidden=Rule("uniform", 3**-0.5, "fan_in"),
            output=Rule("uniform", 3**-0.5, "fan_in"),
            bias=Rule("uniform", 3**-0.5, "fan_in"),
            output_bias=Rule("uniform", 3**-0.5, "fan_in"),
        ),
        Scheme(
            "critical",
            "the edge of chaos: the weights' variance that makes χ = 1 at the fixed point, for the "
            "biases' variance (bias_variance, 0); near-uniform output",
            "Schoenholz et al. 2017, Deep Information Propagation",
            hidden=Rule("normal", "critical", "fan_in"),
            output=_FANIN.output,
        ),
        replace(
            _FANIN,
            name="zeros-output",
            summary="fanin with the output zero: the loss is exactly log V, and learning goes on",
            source="Zhang et al. 2019, Fixup Initialization, section 3",
            output=ZERO,
        ),
        _alike(
            "constant",
            "every weight 0.01: all units of a layer are one and stay one; symmetric on purpose",
            "torch.nn.init.constant_; Goodfellow et al. 2016, Deep Learning, section 8.4",
            Rule("constant", 0.01),
        ),
        Scheme(
            "lsuv",
            "orthogonal, then layer by layer scaled to a unit second moment on training examples; "
            "near-uniform output",
            "Mishkin and Matas 2015, All You Need is a Good Init",
            hidden=Rule("orthogonal", 1.0),
            output=_FANIN.output,
            unit_preactivations=True,
        ),
    )
}

# Names that others use for the same thing: for hints only, so that a start has one name here.
_SYNONYMS = {"xavier": "glorot", "he-": "kaiming-", "default": "torch-default"}


def find_start(name: str) -> Scheme:
    """The scheme of that name, with its options: `fanin`, `orthogonal:gain=1.6,output=0.1`.

    A name that ends in .json, before any options, is that of a scheme file, which is read. Raises
    OptionError, with the nearest name, for what is not known.
    """
    if (found := file_and_options(name)) is not None:
        path, options = found
        scheme = load_scheme(path)
        return with_options(scheme, options) if options else scheme
    base, colon, options = name.partition(":")
    if base not in SCHEMES:
        asked = base.lower().replace("_", "-")
        for synonym, own in _SYNONYMS.items():
            asked = own + asked.removeprefix(synonym) if asked.startswith(synonym) else asked
        near = difflib.get_close_matches(asked, SCHEMES, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise OptionError(f"start {base!r} is not known{hint} There are {', '.join(SCHEMES)}.")
    return with_options(SCHEMES[base], options) if colon else SCHEMES[base]
