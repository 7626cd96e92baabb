"""The activations that fanin knows by name, in NumPy.

Only f and f' stand here; every figure about them comes by quadrature, as for any other activation.
"""

import difflib
import math

import numpy as np
from jaxtyping import Float64
from scipy import special

from fanin.errors import OptionError
from fanin.theory.nonlinearity import Nonlinearity

# Klambauer et al. 2017, "Self-Normalizing Neural Networks", eq. 14.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

_Nodes = Float64[np.ndarray, "nodes"]


def _identity(x: _Nodes) -> _Nodes:
    return x


def _identity_slope(x: _Nodes) -> _Nodes:
    return np.ones_like(x)


def _tanh_slope(x: _Nodes) -> _Nodes:
    # 1/cosh² keeps its digits in the tails, where 1 - tanh² cancels; |x| so that nothing overflows.
    decay = np.exp(-2.0 * np.abs(x))
    return 4.0 * decay / (1.0 + decay) ** 2


def _relu(x: _Nodes) -> _Nodes:
    return np.maximum(x, 0.0)


def _relu_slope(x: _Nodes) -> _Nodes:
    return np.where(x > 0.0, 1.0, 0.0)


def _gelu(x: _Nodes) -> _Nodes:
    return x * special.ndtr(x)


def _gelu_slope(x: _Nodes) -> _Nodes:
    return special.ndtr(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _silu(x: _Nodes) -> _Nodes:
    return x * special.expit(x)


def _silu_slope(x: _Nodes) -> _Nodes:
    return special.expit(x) * (1.0 + x * special.expit(-x))


def _sigmoid(x: _Nodes) -> _Nodes:
    return special.expit(x)


def _sigmoid_slope(x: _Nodes) -> _Nodes:
    return special.expit(x) * special.expit(-x)


def _selu(x: _Nodes) -> _Nodes:
    return SELU_SCALE * np.where(x > 0.0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


def _selu_slope(x: _Nodes) -> _Nodes:
    return SELU_SCALE * np.where(x > 0.0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0)))


ACTIVATIONS: dict[str, Nonlinearity] = {
    nonlinearity.name: nonlinearity
    for nonlinearity in (
        Nonlinearity("identity", _identity, _identity_slope),
        Nonlinearity("tanh", np.tanh, _tanh_slope),
        Nonlinearity("relu", _relu, _relu_slope),
        Nonlinearity("selu", _selu, _selu_slope),
        Nonlinearity("gelu", _gelu, _gelu_slope),
        Nonlinearity("silu", _silu, _silu_slope),
        Nonlinearity("sigmoid", _sigmoid, _sigmoid_slope),
    )
}


def find_nonlinearity(name: str) -> Nonlinearity:
    """The activation of that name; OptionError, with the nearest name, where there is none."""
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    near = difflib.get_close_matches(name.lower(), ACTIVATIONS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise OptionError(
        f"activation {name!r} is not known by name; {hint}Known are {', '.join(ACTIVATIONS)}."
    )
