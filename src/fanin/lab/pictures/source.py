"""The programs that draw, as each picture gives them to the browser."""

from importlib.resources import files

_HERE = files("fanin.lab.pictures")


def program(*names: str) -> str:
    """The text of some JavaScript files one after the other; the last one exports the picture."""
    return "\n".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in names)


def style() -> str:
    """What all pictures look like."""
    return _HERE.joinpath("pictures.css").read_text(encoding="utf-8")
