"""Many cases on many processes or machines, through Dask.

Dask moves a case to another worker when its own dies, restarts workers that grow past their
memory, and shows what is going on in its dashboard. A case's result is written whole or not at
all, so that a case that runs twice does no harm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedFusionLib.batch.cases import SKIPPED, Case, Outcome, attempt, output_path
from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

CORES_PER_WORKER = 2
"""Cores of a local worker without a GPU: the networks gain little from more."""
DEATHS_ALLOWED = 3
"""Workers that may die under a case before the case counts as failed."""


@contextmanager
def cluster_client(where: str) -> Iterator[Client]:
    """A Dask client for ``local``, ``local:N`` (N workers) or ``tcp://HOST:PORT``.

    ``local`` starts one worker per GPU, else one per two cores, each bound to its share of the
    machine's memory. A local cluster ends with the context; a remote one is left alone.
    """
    distributed = _distributed()
    if where.startswith(("tcp://", "tls://")):
        try:
            client = distributed.Client(where)
        except OSError as error:
            raise InputError(
                f"No Dask scheduler answers at {where}. Check the address, or start one with "
                "'dask scheduler'."
            ) from error
        with client:
            yield client
        return
    workers = _local_workers(where)
    threads = max(1, (os.cpu_count() or 1) // workers)
    with (
        _plain_allocation(),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=1 / workers,
            dashboard_address="127.0.0.1:0",
            env={"OMP_NUM_THREADS": str(threads)},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _plain_allocation() -> AbstractContextManager[Any]:
    """Workers that keep freed memory for their next batch, as any other process does.

    Dask asks the C library to give every freed block back at once. Fetching it again for each
    tensor made a case take twice as long.
    """
    import dask

    return dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "A cluster needs Dask. Install it with: pip install 'medfusion[batch]'."
        ) from error
    return distributed


def _local_workers(where: str) -> int:
    name, _, count = where.partition(":")
    if name != "local" or (count and not count.isdigit()) or count == "0":
        raise InputError(
            f"'{where}' is no cluster. Give local, local:N (N workers) or tcp://HOST:PORT."
        )
    return int(count) if count else gpu_count() or max(1, (os.cpu_count() or 1) // CORES_PER_WORKER)


def gpu_count() -> int:
    """NVIDIA GPUs of this machine, asked of the driver: this process need not load torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    listed = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def run_cases_on(
    client: Client,
    cases: Sequence[Case],
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool,
    report: Callable[[Outcome], None],
) -> list[Outcome]:
    """Fuse all cases on a cluster; outcomes in the order of ``cases``.

    Paths must mean the same on every worker. A case whose workers die
    ``DEATHS_ALLOWED`` times is reported as failed; all others go on.
    """
    from distributed import as_completed

    outcomes: dict[str, Outcome] = {}
    futures = {}
    for case in cases:
        output = output_path(folder, case)
        if resume and output.is_file():
            outcomes[case.case] = Outcome(case.case, SKIPPED, 0.0, str(output), "")
            report(outcomes[case.case])
            continue
        arguments = (_absolute(case), output.resolve(), dict(settings))
        futures[client.submit(_on_worker, *arguments, pure=False)] = case
    for future in as_completed(futures):
        case = futures[future]
        outcomes[case.case] = _outcome_of(future, case)
        report(outcomes[case.case])
    return [outcomes[case.case] for case in cases]


def _absolute(case: Case) -> Case:
    """Workers have working folders of their own."""
    transform = None if case.transform is None else case.transform.resolve()
    further = tuple(
        replace(
            one,
            path=one.path.resolve(),
            alignment=one.alignment.resolve() if isinstance(one.alignment, Path) else one.alignment,
        )
        for one in case.further
    )
    return Case(case.case, case.reference.resolve(), case.other.resolve(), transform, further)


def _outcome_of(future: Any, case: Case) -> Outcome:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        reason = f"{DEATHS_ALLOWED + 1} workers died on it, probably for lack of memory"
        return Outcome(case.case, "failed", 0.0, "", reason)


def _on_worker(case: Case, output: Path, settings: dict[str, Any]) -> Outcome:
    """One case, in a worker: on the GPU that belongs to it, if there are several."""
    if settings.get("device", "auto") == "auto":
        settings = settings | {"device": _own_device()}
    return attempt(case, output, settings)


def _own_device() -> str:
    """Workers of a local cluster are named 0, 1, …; each takes the GPU of its number."""
    import torch
    from distributed import get_worker

    name, gpus = get_worker().name, torch.cuda.device_count()
    return f"cuda:{int(name) % gpus}" if gpus and str(name).isdigit() else "auto"
