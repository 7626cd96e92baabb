"""An optimiser's state, a pytree of optax, as named arrays for a file and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fanin.errors import ModelFileError


def named_leaves(tree: Any) -> dict[str, Any]:
    """The arrays of an optimiser's state by their place in it."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def filled(template: Any, leaves: Mapping[str, Any]) -> Any:
    """The optimiser's state of the template's structure, with these arrays in its places."""
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    wanted = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    for name in wanted.keys() | leaves.keys():
        found = leaves.get(name)
        if name not in wanted or found is None or found.shape != wanted[name].shape:
            raise ModelFileError(
                f"the optimiser's state does not fit the options: {name} is missing, of another "
                "shape or too many"
            )
    filled = [jnp.asarray(leaves[name], leaf.dtype) for name, leaf in wanted.items()]
    return jax.tree_util.tree_unflatten(structure, filled)
