"""Programs that JAX compiled are kept in the user's cache folder, so the next run has them at once.

Compiling is most of the time of a short run: some 4 s of the first `fanin train`.
"""

import hashlib
import os
import platform
import re
import warnings
from importlib.metadata import version
from pathlib import Path

LARGEST = 2**28
"""Bytes of the folder; beyond them what was not used for longest goes."""


def keep_programs() -> None:
    """Tells JAX, before it is imported, to keep what it compiles and to use what was kept.

    By JAX's own environment variables, which processes started from here inherit. What the user
    has set in them stands: JAX_ENABLE_COMPILATION_CACHE=false is the switch that turns it off,
    JAX_COMPILATION_CACHE_DIR another folder. Without a folder that can be written to, nothing is
    kept; entries that cannot be read or that a machine rejects are compiled anew, in silence.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    for name, setting in (
        ("JAX_COMPILATION_CACHE_DIR", str(folder)),
        ("JAX_COMPILATION_CACHE_MAX_SIZE", str(LARGEST)),
        ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0"),
        ("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1"),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),  # XLA reports a rejected entry as an error of its own
    ):
        os.environ.setdefault(name, setting)


def cache_folder() -> Path:
    """A folder for this processor, its visible cores and this jaxlib, all of which a program's
    instructions hang on."""
    from platformdirs import user_cache_path

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = hashlib.sha256(_instructions().encode()).hexdigest()[:12]
    name = f"jaxlib-{version('jaxlib')}-{processor}-{cores}"
    return user_cache_path("fanin", appauthor=False) / "programs" / name


def _instructions() -> str:
    """What the processor can do, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else f"{platform.machine()} {platform.processor()}"
