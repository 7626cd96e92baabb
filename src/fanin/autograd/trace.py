"""Which JAX trace a node belongs to, and the error when two are mixed."""

from jax.core import eval_context
from jax.extend.core import get_opaque_trace_state

from fanin.errors import FaninError


class TraceError(FaninError):
    """A node of one JAX trace was used where only nodes of another may be."""


def current_trace() -> object:
    """A token of the trace that is being made now; equal within one trace, holds nothing alive."""
    return get_opaque_trace_state()


# This module may be imported for the first time inside a function that is being traced.
with eval_context():
    AT_TOP = current_trace()
    """The token outside every JAX transformation."""
