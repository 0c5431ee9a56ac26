"""Where the work on many files runs: joblib's threads or processes, or a cluster of dask or ray.

joblib takes a tenth of a second to load, which commands without such work spare.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Literal, get_args

from kitbox.errors import KitboxError, first_line

Backend = Literal["threading", "loky", "dask", "ray"]
# Calls that a backend without results one by one gets at a time, for each worker.
_AT_ONCE = 16
# Where the backends have the errors by which they tell that workers or a scheduler are gone.
_BACKENDS = ("joblib.externals.loky.", "distributed.", "ray.")


def check_backend(
    backend: str | None, address: str | None = None, workers: int | None = None
) -> None:
    """Raise KitboxError for a backend that does not exist, and for what it does not take."""
    if backend is not None and backend not in get_args(Backend):
        raise KitboxError(f"--backend {backend} is not {', '.join(get_args(Backend))}")
    if address is not None and backend not in ("dask", "ray"):
        raise KitboxError("--address is that of a cluster", fix="add --backend dask or ray")
    if workers is not None and backend in ("dask", "ray"):
        raise KitboxError(
            f"--workers {workers}: a cluster of {backend} has workers of its own",
            fix="leave the option out",
        )


@contextmanager
def open_backend(
    backend: str | None, address: str | None = None, workers: int | None = None
) -> Iterator[None]:
    """Let `run` use a backend within the body; None is threads, as without this.

    `address` is that of the scheduler of a dask or ray cluster; without it a cluster is started on
    this machine. `workers` is the number of processes of loky, by default one a core. Raises
    KitboxError for a package that is missing, where no scheduler answers, and as `check_backend`.
    """
    check_backend(backend, address, workers)
    with ExitStack() as stack:
        settings: dict[str, Any] = {"n_jobs": -1 if workers is None else max(workers, 1)}
        if backend == "dask":
            settings["client"] = stack.enter_context(_dask(address))
        elif backend == "ray":
            _start_ray(address)
        if backend is not None:
            from joblib import parallel_config

            stack.enter_context(parallel_config(backend=backend, **settings))
        yield


def run(calls: Iterable[Any]) -> Iterator[Any]:
    """Yield in their order what calls return that were made by `joblib.delayed`.

    Raises KitboxError where a cluster is lost, or workers end in the midst of a call.
    """
    try:
        yield from _run(calls)
    except Exception as error:
        if isinstance(error, KitboxError) or not _is_lost(error):
            raise
        raise KitboxError(
            f"workers that read files for this command are gone ({first_line(error)})",
            fix="run it again; it goes on with what is finished",
        ) from error


def _run(calls: Iterable[Any]) -> Iterator[Any]:
    from joblib import Parallel, cpu_count

    backend, jobs = _active()
    if backend.supports_return_generator:
        yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(calls)
        return
    waiting, count = iter(calls), _AT_ONCE * max(backend.effective_n_jobs(jobs), cpu_count())
    with Parallel(n_jobs=jobs) as parallel:  # which keeps its workers
        while part := list(islice(waiting, count)):
            yield from parallel(part)


def shares_memory() -> bool:
    """Return whether the workers of `run` are threads, which may write to what they are given."""
    backend, _ = _active()
    return bool(getattr(backend, "supports_sharedmem", False))  # that of dask does not say


def worker_count() -> int:
    """Return the number of calls that the backend runs at a time."""
    backend, jobs = _active()
    return int(backend.effective_n_jobs(jobs))


def _active() -> tuple[Any, int]:
    """Return the backend of the context, and its number of workers, -1 for one a core."""
    from joblib.parallel import ThreadingBackend, get_active_backend

    backend, jobs = get_active_backend(prefer="threads")
    # without a context it is threads, and joblib's number is 1
    return backend, -1 if jobs is None or isinstance(backend, ThreadingBackend) else jobs


def _is_lost(error: Exception) -> bool:
    """Return whether an error is one of a backend itself, and not of a call."""
    kind = type(error)
    of_a_call = kind.__name__.startswith("RayTaskError")
    return kind.__module__.startswith(_BACKENDS) and not of_a_call


def _dask(address: str | None) -> Any:
    """Return a client of a dask cluster, as a context."""
    try:
        from distributed import Client
    except ImportError as error:
        raise _missing("dask") from error
    try:
        # a cluster of its own would tell that its workers need time to end
        own = {} if address else {"silence_logs": logging.ERROR}
        return Client(address, set_as_default=False, **own)
    except (OSError, ValueError) as error:
        raise KitboxError(
            f"--address {address}: no scheduler of dask answers there ({first_line(error)})",
            fix="start one with 'dask scheduler', or correct the address",
        ) from error


def _start_ray(address: str | None) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise _missing("ray") from error
    try:
        ray.init(
            address=address,
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.ERROR,  # it tells of each argument of joblib that it ignores
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise KitboxError(
            f"--address {address}: no cluster of ray answers there ({first_line(error)})",
            fix="start one with 'ray start --head', or correct the address",
        ) from error
    register_ray()


def _missing(backend: str) -> KitboxError:
    return KitboxError(
        f"--backend {backend} needs a package that is not installed",
        fix=f"install it with 'pip install \"kitbox[{backend}]\"'",
    )
