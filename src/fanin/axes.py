"""The vocabulary of axis names: every shape annotation in fanin is written in these words.

Shapes stand in the annotations (jaxtyping), for example `Float[Array, "batch fan_in"]`. A test
holds every annotation of the package against this list, so that one axis has one name everywhere.
"""

AXES: dict[str, str] = {
    "batch": "the examples of one mini-batch",
    "bins": "the bars of a histogram",
    "block": "the symbols of context before the target",
    "blocks": "the blocks of one size that a data set is cut into",
    "columns": "the values of a map's axis to the right",
    "embedding": "the numbers that stand for one symbol",
    "examples": "all contexts of a data set, or those that a measurement looks at",
    "fan_in": "the inputs of one unit of a layer",
    "fan_out": "the units that a layer feeds",
    "hidden": "the units of a hidden layer",
    "layers": "layers in order of execution, or depth",
    "levels": "the values of a measured number that a limit may take, in order",
    "nodes": "the nodes of a quadrature rule",
    "rows": "the values of a map's axis upwards",
    "runs": "the networks of a race, side by side",
    "stacked": "the rows that all layers have of a kind, one layer's below another's",
    "steps": "training steps",
    "units": "the units of any layer",
    "vocab": "the symbols of a vocabulary, the boundary included",
    "words": "the words of a list",
}
