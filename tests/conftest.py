"""All tests run with the package's annotations checked: types by beartype, shapes by jaxtyping."""

import atexit
import os
import shutil
import tempfile

# Before JAX is imported, here and in the processes that tests start. They share what they compile,
# in a folder of this session's own.
os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the tests' time is XLA's, for small programs that run once: they are not optimised, and
# the older of its two ways to write loops takes half as long.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
    ]
)
# Records, reports and models are flushed to the disk as they are written. Of the tests' own nothing
# need outlast the power: in memory, where there is plenty, a flush takes no time.
if (
    "TMPDIR" not in os.environ
    and os.access("/dev/shm", os.W_OK | os.X_OK)
    and shutil.disk_usage("/dev/shm").free > 2**32
):
    os.environ["TMPDIR"] = tempfile.tempdir = "/dev/shm"
if "PYTEST_XDIST_WORKER" not in os.environ:
    programs = tempfile.mkdtemp(prefix="fanin-tests-")
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
    # Without a limit: under one, JAX looks through the whole folder for each program that it keeps.
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = "-1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Tests run side by side: PyTorch's threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from jaxtyping import install_import_hook

# The same examples in every run, with no database of earlier failures and no clock.
settings.register_profile("fanin", derandomize=True, deadline=None, database=None)
settings.load_profile("fanin")
# It would also try constants from the modules that are loaded by then, and which those are hangs on
# what else this process has run.
providers._get_local_constants = Constants

install_import_hook("fanin", "beartype.beartype")
