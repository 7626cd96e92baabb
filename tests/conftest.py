"""All tests run with the package's annotations checked: types by beartype, shapes by jaxtyping."""

import os

# Before JAX is imported, here and in the processes that tests start.
os.environ["JAX_PLATFORMS"] = "cpu"

from hypothesis import settings
from jaxtyping import install_import_hook

# The same examples in every run, with no database of earlier failures and no clock.
settings.register_profile("fanin", derandomize=True, deadline=None, database=None)
settings.load_profile("fanin")

install_import_hook("fanin", "beartype.beartype")
