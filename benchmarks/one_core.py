"""One core and one thread for this process: to be called before NumPy, JAX or PyTorch load."""

import os

# Read when they load: OpenBLAS, MKL, OpenMP (PyTorch), XLA's pool, PyTorch's compiler.
THREAD_SETTINGS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PJRT_NPROC",
    "TORCHINDUCTOR_COMPILE_THREADS",
)


def keep_to_one_core(core: int | None = None) -> int:
    """Pin the process to a core, the last one allowed unless one is given; returns its number."""
    if core is None:
        core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return core
