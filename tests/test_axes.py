"""Every shape in an annotation is written in the vocabulary of `fanin.axes`."""

import ast
from pathlib import Path

import jaxtyping
import pytest

import fanin
from fanin.axes import AXES

HOUSE = Path(fanin.__file__).parent
MODULES = sorted(HOUSE.rglob("*.py"))
# The types that take a shape: Float, Int8, Shaped ...
DTYPES = {
    name
    for name, kind in vars(jaxtyping).items()
    if isinstance(kind, type) and issubclass(kind, jaxtyping.AbstractDtype)
}


def shapes(source):
    """The shape strings of all annotations, with their lines, in whatever place they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript):
            dtype = getattr(node.value, "attr", getattr(node.value, "id", None))
            if dtype in DTYPES:
                yield node.slice.elts[-1].value, node.lineno


def strange(shape):
    """The words of a shape that are neither axes nor sizes nor "...".

    A # before an axis says that it may also be 1, to be broadcast.
    """
    words = (word.removeprefix("#") for word in shape.split())
    return [word for word in words if not (word in AXES or word == "..." or word.isdecimal())]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_shapes_are_written_in_the_vocabulary(path):
    for shape, line in shapes(path.read_text()):
        assert not strange(shape), f"{path}:{line}: {shape!r} has {strange(shape)}"


def test_there_are_shapes_to_look_at():
    assert len([shape for path in MODULES for shape in shapes(path.read_text())]) > 100
    assert {"Float", "Float32", "Integer", "UInt", "Bool", "Shaped"} <= DTYPES


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x: Float[Array, 'batch 3']", ["batch 3"]),
        (
            "def f(x: dict[str, Int8[Array, ' units']] | None) -> UInt[Array, '...']: ...",
            ["...", " units"],
        ),
        ("x: jaxtyping.Bool[Array, '']", [""]),
        ("T = Float[np.ndarray, 'rows']", ["rows"]),
        ("x[0, 'batch']", []),
    ],
)
def test_the_look_at_annotations_sees_every_form(source, found):
    assert sorted(shape for shape, _ in shapes(source)) == sorted(found)


def test_words_that_are_no_axes_are_strange():
    assert strange("batch 3 ... lines #fan_out *fan_in units+1") == ["lines", "*fan_in", "units+1"]


def test_every_axis_is_explained():
    assert all(name.isidentifier() and meaning for name, meaning in AXES.items())
    assert list(AXES) == sorted(AXES)
