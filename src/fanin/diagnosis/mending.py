"""Applying prescriptions to a network of fanin's, and writing them as code: one meaning, twice.

A test runs the code and holds its result against what `apply` gives, bit for bit.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fanin.diagnosis.report import Prescription
from fanin.networks import Network, initial_statistics
from fanin.starts import find_start

# What is drawn again comes from a key of its own, so that it shares no stream with a start's.
KEY = 1_729
SCHEME = "fanin"

CHOICE_OPTIONS = {
    "batch normalisation": "--norm batch",
    "layer normalisation": "--norm layer",
    "residual": "--residual --norm layer",
    "orthogonal": "--start orthogonal:gain=critical,output=0.1",
    "critical": "--start critical",
}
"""What `fanin diagnose` and `fanin train` call the ways out of vanishing or exploding gradients."""


def apply(
    prescription: Prescription,
    network: Network,
    parameters: dict[str, Array],
    statistics: dict[str, Any],
    contexts: Any,
) -> None:
    """Make one change in `parameters` or `statistics`."""
    name, units = prescription.parameter, np.array(prescription.units, np.int32)
    if name in statistics:
        statistics[name] = initial_statistics(network, parameters, contexts)[name]
        return
    old = parameters[name]
    if prescription.action == "scale" and prescription.number is not None:
        place = _place(prescription, units) if units.size else slice(None)
        parameters[name] = old.at[place].multiply(prescription.number)
    elif prescription.action == "shuffle":
        parameters[name] = jax.random.permutation(jax.random.key(KEY), old.ravel()).reshape(
            old.shape
        )
    elif prescription.action == "zero":
        parameters[name] = old.at[units].set(0.0) if units.size else jnp.zeros_like(old)
    else:
        drawn = find_start(SCHEME)(network, jax.random.key(KEY))[name]
        if units.size:
            place = _place(prescription, units)
            drawn = old.at[place].set(drawn[place])
        parameters[name] = drawn


def code(prescription: Prescription, statistics: Mapping[str, Any]) -> str:
    """Python for the same change, given `parameters` and what else it names."""
    name, units = prescription.parameter, prescription.units
    this = f'parameters["{name}"]'
    if name in statistics:
        return (
            "from fanin.networks import initial_statistics\n"
            f'statistics["{name}"] = initial_statistics(network, parameters, contexts)["{name}"]'
        )
    if prescription.action == "scale":
        if not units:
            return f"{this} = {this} * {prescription.number!r}"
        place = "units" if _by_rows(prescription) else "(slice(None), units)"
        return (
            f"import numpy as np\nunits = np.array({list(units)})\n"
            f"{this} = {this}.at[{place}].multiply({prescription.number!r})"
        )
    if prescription.action == "shuffle":
        return (
            "import jax\n"
            f"shuffled = jax.random.permutation(jax.random.key({KEY}), {this}.ravel())\n"
            f"{this} = shuffled.reshape({this}.shape)"
        )
    if prescription.action == "zero" and units:
        return f"import numpy as np\n{this} = {this}.at[np.array({list(units)})].set(0.0)"
    if prescription.action == "zero":
        return f"import jax.numpy as jnp\n{this} = jnp.zeros_like({this})"
    drawn = (
        "import jax\nfrom fanin import find_start\n"
        f'drawn = find_start("{SCHEME}")(network, jax.random.key({KEY}))["{name}"]\n'
    )
    if not units:
        return f"{drawn}{this} = drawn"
    place = "units" if _by_rows(prescription) else "(slice(None), units)"
    return (
        f"import numpy as np\n{drawn}units = np.array({list(units)})\n"
        f"{this} = {this}.at[{place}].set(drawn[{place}])"
    )


def choice_code(name: str) -> str:
    """Python for one of the ways out of vanishing or exploding gradients, given `network`."""
    starts = {
        "orthogonal": "orthogonal:gain=critical,output=0.1",
        "critical": "critical",
    }
    changes = {
        "batch normalisation": 'normalisation="batch"',
        "layer normalisation": 'normalisation="layer"',
        "residual": 'residual=True, normalisation="layer"',
    }
    lines = ["import jax", "from fanin import find_start"]
    if name in changes:
        lines.insert(0, "from dataclasses import replace")
        lines.append(f"network = replace(network, {changes[name]})")
    lines.append(
        f'parameters = find_start("{starts.get(name, SCHEME)}")(network, jax.random.key(0))'
    )
    return "\n".join(lines)


def _by_rows(prescription: Prescription) -> bool:
    """Whether the units stand in rows, as an embedding's symbols and a bias's units do."""
    return prescription.layer == "embedding" or prescription.parameter.endswith(".bias")


def _place(prescription: Prescription, units: np.ndarray) -> Any:
    return units if _by_rows(prescription) else (slice(None), units)
