"""Programs shown on the page as they stand in the notebook."""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import marimo


def code(*functions: Callable[..., Any]) -> marimo.Html:
    """The source of some functions, in colour."""
    texts = (textwrap.dedent(inspect.getsource(function)).strip() for function in functions)
    return marimo.md("```python\n" + "\n\n\n".join(texts) + "\n```")
