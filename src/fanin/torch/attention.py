"""Attention as it looks: at one key alone, or at many."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROWS = 2_048
"""Queries that are measured, evenly from all."""

# Masks are −∞, the smallest float, or any large negative number.
_MASKED = -80.0


class Look(NamedTuple):
    """How far queries look about; means over queries, without what a mask leaves out."""

    entropy: float
    """of their weights, over that of equal weights: near 0 where each looks at one key alone"""
    spread: float
    """the standard deviation of a query's scores over the keys, as root mean square"""


def look(logits: Tensor) -> Look | None:
    """Of scores with the keys last; None where no query has two keys to choose from."""
    rows = logits.detach().reshape(-1, logits.shape[-1])
    if rows.shape[0] > ROWS:
        step = rows.shape[0] // ROWS
        rows = rows[:: step + (step % 2 == 0)][:ROWS]
    rows = rows.float()
    highest = rows.amax(-1, keepdim=True)
    allowed = (rows > _MASKED) | (rows > highest + _MASKED)
    count = allowed.sum(-1)
    weights = rows.masked_fill(~allowed, -math.inf).softmax(-1)
    own = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
    usable = (count > 1) & own.isfinite()
    if not bool(usable.any()):
        return None
    count = count[usable].float()
    scores = rows.masked_fill(~allowed, 0.0)[usable]
    apart = (scores - scores.sum(-1, keepdim=True) / count[:, None]).masked_fill(
        ~allowed[usable], 0
    )
    return Look(
        float((own[usable] / count.log()).mean()),
        float((apart.square().sum(-1) / count).mean().sqrt()),
    )


def scaled_dot_product(
    query: Tensor, key: Tensor, mask: Any, causal: bool, scale: float | None
) -> Tensor:
    """The logits of some heads of some examples: (…, queries, keys)."""
    with torch.no_grad():
        heads, queries = query.shape[:-2].numel(), query.shape[-2]
        some = max(1, min(heads, ROWS // max(1, queries)))
        which = torch.linspace(0, heads - 1, some).long().to(query.device)
        shape = query.shape[:-2]
        if key.shape[:-2] != shape:  # grouped queries share their keys
            repeats = shape[-1] // key.shape[-3]
            key = key.repeat_interleave(repeats, -3)
        q = query.detach().reshape(heads, queries, -1)[which].float()
        k = key.detach().reshape(heads, key.shape[-2], -1)[which].float()
        logits = q @ k.mT * (scale or query.shape[-1] ** -0.5)
        if causal:
            future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            logits = logits.masked_fill(future, -math.inf)
        if isinstance(mask, Tensor):
            spread = mask.detach().expand(*shape, *logits.shape[-2:])
            own = spread.reshape(heads, *logits.shape[-2:])[which]
            if own.dtype == torch.bool:
                logits = logits.masked_fill(~own, -math.inf)
            else:
                logits = logits + own
        return logits
