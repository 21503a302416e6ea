"""How many threads compute: fixed before the numerical libraries start, because the bits depend on it.

XLA splits a matrix product over its thread pool, and some splits change the order of summation: replay
with 4 threads differs in the last bits from replay with 1 or 2. The pool's size is read from `NPROC`
when JAX first computes; the other libraries read their own variables when they are imported.
"""

from __future__ import annotations

import os
import sys

from janus_memory.errors import ConfigError

__all__ = ["VARIABLES", "fix_threads"]

VARIABLES = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def fix_threads(compute_threads: int) -> int:
    """Set the thread counts of XLA, OpenMP, BLAS and numba in this process's environment.

    Call it first in a process, before numpy, JAX or numba are imported; child processes inherit it.

    Args:
        compute_threads: `SleepSettings.compute_threads`; 0 means the cores that this process may use.

    Returns:
        The count that was set, for the checkpoint and the report.

    Raises:
        ConfigError: a negative count, or JAX has already started with another count.
    """
    if compute_threads < 0:
        raise ConfigError(
            f"sleep.compute_threads = {compute_threads} is negative; nothing was started; set 0 for all cores"
        )
    count = compute_threads or _usable_cores()
    if _started() and os.environ.get("NPROC") != str(count):
        raise ConfigError(
            f"sleep.compute_threads = {count} comes too late: JAX has already started in this process; "
            "nothing was computed; fix the threads before anything else is imported"
        )
    for name in VARIABLES:
        os.environ[name] = str(count)
    return count


def _usable_cores() -> int:
    """Cores of this process, or of the machine where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started() -> bool:
    """Whether JAX has made its thread pool."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bool(bridge.backends_are_initialized())
