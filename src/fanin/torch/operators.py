"""PyTorch's operators as a diagnosis sees them: which are activations, weights, normalisations."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fanin.diagnosis.ends import flat_ends
from fanin.theory import ACTIVATIONS, Nonlinearity, TheoryError


@dataclass(frozen=True)
class Operator:
    """One operator, by the name of its out-of-place form."""

    name: str
    in_place: bool
    writes: tuple[int, ...]
    """the places of the arguments that it writes into"""


@lru_cache(maxsize=4096)
def operator(function: Any) -> Operator:
    """Which operator an overload that was dispatched belongs to."""
    name = function._schema.name.partition("::")[2]
    in_place = name.endswith("_") and not name.endswith("__")
    writes = tuple(
        place
        for place, argument in enumerate(function._schema.arguments)
        if (argument.alias_info is not None and argument.alias_info.is_write)
        # Batch normalisations write to their running statistics, and do not all say so.
        or (argument.name.startswith("running_") and "batch_norm" in name)
    )
    return Operator(name[:-1] if in_place else name, in_place, writes)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLUTIONS = frozenset({"convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution"})
PRODUCTS = {
    # the places of the two factors among the arguments
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "mv": (0, 1),
    "addmv": (1, 2),
    "dot": (0, 1),
    "linear": (0, 1),
}
EMBEDDINGS = {"embedding": (0, 1), "_embedding_bag": (0, 1), "_embedding_bag_forward_only": (0, 1)}
NORMALISATIONS = {
    "native_batch_norm": "batch",
    "_native_batch_norm_legit": "batch",
    "_native_batch_norm_legit_no_training": "batch",
    "_batch_norm_with_update": "batch",
    "_batch_norm_no_update": "batch",
    "batch_norm": "batch",
    "cudnn_batch_norm": "batch",
    "miopen_batch_norm": "batch",
    "native_layer_norm": "layer",
    "native_group_norm": "group",
    "_fused_rms_norm": "rms",
}
ATTENTIONS = frozenset(
    {
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
        "_scaled_dot_product_attention_math",
        "scaled_dot_product_attention",
    }
)
SUMS = frozenset({"add", "sub"})

UNCHANGED = _names(
    """
    view _unsafe_view reshape _reshape_alias t transpose permute squeeze unsqueeze expand clone
    contiguous detach alias _to_copy to copy native_dropout dropout movedim flatten unfold
    _reshape_copy slice select split split_with_sizes chunk unsafe_split unsafe_chunk unbind
    narrow as_strided index_select lift_fresh channel_shuffle pixel_shuffle pixel_unshuffle roll
    flip constant_pad_nd _conj view_as unsafe_split_with_sizes gather
    """
)
"""What only moves numbers about: what comes out is, number by number, what went in, or a part of
it. (Dropout leaves out some, and makes the others larger.)"""

ELEMENTWISE = _names(
    """
    add sub mul div pow neg exp log sqrt square abs sign tanh sigmoid relu gelu silu erf maximum
    minimum clamp clamp_min clamp_max where gt lt ge le eq rsub reciprocal softplus hardtanh elu
    leaky_relu hardswish hardsigmoid mish log_sigmoid_forward sin cos atan log1p expm1
    lift_fresh _to_copy clone detach alias threshold scalar_tensor _prelu_kernel addcmul
    heaviside logical_and
    """
)
"""What an activation of one's own is made of."""

SCALES = frozenset({"rsqrt", "linalg_vector_norm", "var", "var_mean", "std", "std_mean", "norm"})
"""What a normalisation of one's own divides by, or multiplies with."""


def constant(name: str, arguments: tuple[Any, ...]) -> float | None:
    """The number by which an operator multiplies its one tensor, where that is all it does."""
    if name not in ("mul", "div") or len(arguments) != 2:
        return None
    number = arguments[1] if isinstance(arguments[0], Tensor) else arguments[0]
    if not isinstance(number, int | float) or not math.isfinite(number) or not number:
        return None
    return float(number) if name == "mul" else 1.0 / number


@dataclass(frozen=True)
class Applied:
    """An activation as it was called: a name that has its settings, and the function."""

    name: str
    function: Callable[[Tensor], Tensor]
    own: bool = False
    """whether it is a module of the user's, known by its values alone"""


def applied(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied | None:
    """The activation that this call of an operator is; None where it is none."""
    make = _ACTIVATIONS.get(name)
    if make is None:
        return None
    return make(arguments, named)


def _plain(name: str, function: Callable[[Tensor], Tensor]) -> Callable[..., Applied]:
    known = Applied(name, function)
    return lambda arguments, named: known


def _setting(arguments: tuple[Any, ...], named: dict[str, Any], place: int, name: str, or_: Any):
    if len(arguments) > place:
        return arguments[place]
    return named.get(name, or_)


def _gelu(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied:
    if _setting(arguments, named, 1, "approximate", "none") == "none":
        return Applied("gelu", F.gelu)
    return Applied("gelu-tanh", lambda x: F.gelu(x, approximate="tanh"))


def _elu(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied:
    alpha = float(_setting(arguments, named, 1, "alpha", 1.0))
    scale = float(_setting(arguments, named, 2, "scale", 1.0))
    inner = float(_setting(arguments, named, 3, "input_scale", 1.0))
    if abs(alpha - 1.6732632) < 1e-5 and abs(scale - 1.050701) < 1e-5:
        return Applied("selu", F.selu)
    if alpha == scale == inner == 1.0:
        return Applied("elu", F.elu)
    name = f"elu({alpha:g}, {scale:g}, {inner:g})"
    return Applied(name, lambda x: torch.where(x > 0, scale * x, _low(x, alpha, scale, inner)))


def _low(x: Tensor, alpha: float, scale: float, inner: float) -> Tensor:
    return scale * alpha * torch.expm1(inner * x.clamp(max=0.0))


def _leaky(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied:
    slope = float(_setting(arguments, named, 1, "negative_slope", 0.01))
    return Applied(f"leaky-relu({slope:g})", lambda x: F.leaky_relu(x, slope))


def _hardtanh(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied | None:
    low = _setting(arguments, named, 1, "min_val", -1.0)
    return _between(low, _setting(arguments, named, 2, "max_val", 1.0))


def _clamped(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied | None:
    low = _setting(arguments, named, 1, "min", None)
    return _between(low, _setting(arguments, named, 2, "max", None))


def _between(low: Any, high: Any) -> Applied | None:
    ends = [each for each in (low, high) if each is not None]
    if not ends or not all(isinstance(each, int | float) for each in ends):
        return None
    if high is None:
        name = "relu" if low == 0 else f"clamp(min={low:g})"
    elif low is None:
        name = f"clamp(max={high:g})"
    elif low >= high:
        return None
    else:
        name = "relu6" if (low, high) == (0, 6) else f"hardtanh({low:g}, {high:g})"
    return Applied(name, lambda x: x.clamp(low, high))


def _from_below(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied | None:
    low = _setting(arguments, named, 1, "min", None)
    return Applied("relu", F.relu) if low == 0 else None


def _prelu(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied:
    slope = float(arguments[1].detach().float().mean())
    return Applied(f"prelu({slope:.3g})", lambda x: F.leaky_relu(x, slope))


def _softplus(arguments: tuple[Any, ...], named: dict[str, Any]) -> Applied:
    beta = float(_setting(arguments, named, 1, "beta", 1.0))
    name = "softplus" if beta == 1.0 else f"softplus({beta:g})"
    return Applied(name, lambda x: F.softplus(x, beta))


_ACTIVATIONS: dict[str, Callable[..., Applied | None]] = {
    "tanh": _plain("tanh", torch.tanh),
    "relu": _plain("relu", F.relu),
    "sigmoid": _plain("sigmoid", torch.sigmoid),
    "glu": _plain("sigmoid", torch.sigmoid),
    "silu": _plain("silu", F.silu),
    "hardswish": _plain("hardswish", F.hardswish),
    "hardsigmoid": _plain("hardsigmoid", F.hardsigmoid),
    "mish": _plain("mish", F.mish),
    "log_sigmoid_forward": _plain("logsigmoid", F.logsigmoid),
    "sin": _plain("sin", torch.sin),
    "gelu": _gelu,
    "elu": _elu,
    "leaky_relu": _leaky,
    "rrelu_with_noise": _plain("rrelu", lambda x: F.leaky_relu(x, 11 / 48)),
    "hardtanh": _hardtanh,
    "clamp": _clamped,
    "clamp_min": _from_below,
    "_prelu_kernel": _prelu,
    "softplus": _softplus,
}


def nonlinearity(activation: Applied) -> Nonlinearity:
    """An activation as theory takes it: fanin's own of that name, or by PyTorch in float64."""
    if activation.name in ACTIVATIONS:
        return ACTIVATIONS[activation.name]
    # One for each: quadrature remembers what it did by the nonlinearity's identity. Modules without
    # parameters are one where they show themselves alike.
    key = activation.name, repr(activation.function) if activation.own else ""
    known = _KNOWN.get(key)
    if known is None:
        known = _KNOWN[key] = _by_torch(activation)
    return known


_KNOWN: dict[tuple[str, str], Nonlinearity] = {}


def ends_of(activation: Applied) -> tuple[float | None, float | None]:
    """Where an activation is flat; nowhere for one that is no function entry by entry.

    Nor for softplus: as it goes to 0 it falls like the exponential function, whose relative slope
    is 1. State space models begin their steps there, at softplus of about -5.
    """
    if activation.name.startswith("softplus"):
        return None, None
    try:
        return flat_ends(nonlinearity(activation))
    except (TheoryError, RuntimeError, TypeError):
        return None, None


def attention_settings(
    name: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, bool, float | None]:
    """Mask, whether it is causal, and scale of a fused attention's call."""
    schema = _ATTENTION_ARGUMENTS.get(name, ("query", "key", "value"))
    given = {**dict(zip(schema, arguments, strict=False)), **named}
    mask = given.get("attn_mask", given.get("attn_bias"))
    return mask, bool(given.get("is_causal", False)), given.get("scale")


_QKV = ("query", "key", "value")
_ATTENTION_ARGUMENTS = {
    "_scaled_dot_product_flash_attention_for_cpu": (*_QKV, "dropout_p", "is_causal"),
    "_scaled_dot_product_flash_attention": (*_QKV, "dropout_p", "is_causal", "debug"),
    "_scaled_dot_product_efficient_attention": (
        *_QKV,
        "attn_bias",
        "compute_log_sumexp",
        "dropout_p",
        "is_causal",
    ),
    "_scaled_dot_product_cudnn_attention": (
        *_QKV,
        "attn_bias",
        "compute_log_sumexp",
        "dropout_p",
        "is_causal",
    ),
    "_scaled_dot_product_fused_attention_overrideable": (
        *_QKV,
        "attn_bias",
        "dropout_p",
        "is_causal",
    ),
    "_scaled_dot_product_attention_math": (*_QKV, "attn_mask", "dropout_p", "is_causal"),
    "scaled_dot_product_attention": (*_QKV, "attn_mask", "dropout_p", "is_causal"),
}


def _by_torch(activation: Applied) -> Nonlinearity:
    def values(x: Any) -> Any:
        with torch.no_grad():
            return activation.function(torch.from_numpy(np.array(x))).numpy()

    def slopes(x: Any) -> Any:
        points = torch.from_numpy(np.array(x)).requires_grad_()
        (given,) = torch.autograd.grad(activation.function(points).sum(), points)
        return given.numpy()

    def apart(x: Any) -> Any:
        # Where an operation is looked at as it runs there are no gradients; in a thread there are.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(slopes, x).result()

    return Nonlinearity(activation.name, values, apart)
