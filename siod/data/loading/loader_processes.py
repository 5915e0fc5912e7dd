"""Processes that make batches: they wait from epoch to epoch, and end with the run that started them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader

from siod.errors import RunError, UserError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from torch.utils.data import Dataset

    from siod.data.loading.order import Share, Shares

IDLE_LOADERS = 2
"""Sets of processes that wait for their next epoch: those for training and those for validation images."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (it is asked for its size)
# How torch words that a process of a loader ended.
DEATHS = ("exited unexpectedly", "is killed by signal")


class SharedMemoryError(RuntimeError):
    """A process could not hand over what it made."""


class Shareable(Protocol):
    """What passes between processes."""

    def share_memory(self) -> None:
        """Move the large parts to where the other process finds them."""


Made = TypeVar("Made", bound=Shareable)


class _Shares:
    """The shares of the epoch at hand, handed to a loader that outlives it."""

    def __init__(self) -> None:
        self.shares: Shares = []

    def __iter__(self) -> Iterator[Share]:
        return iter(self.shares)

    def __len__(self) -> int:
        return len(self.shares)


_idle: OrderedDict[tuple[Any, ...], tuple[DataLoader[Any], _Shares]] = OrderedDict()
_busy: WeakSet[Generator[Any]] = WeakSet()


def from_processes(dataset: Dataset[Made], shares: Shares, workers: int, *, pin_memory: bool) -> Iterator[Made]:
    """Let processes make batches; a set of them that finished an epoch waits for the next.

    Args:
        dataset: Makes what a share asks for.
        shares: Of the epoch.
        workers: How many processes, at least 1.
        pin_memory: Put what comes into page-locked memory.

    Returns:
        What the data set made, in the order of the shares.

    Raises:
        UserError: That of a process, in the same words.
        RunError: A process died, or had no memory to hand over what it made.
    """
    batches = _epoch(dataset, shares, workers, pin_memory=pin_memory)
    _busy.add(batches)
    return batches


@contextmanager
def own_loader_processes() -> Iterator[None]:
    """What makes batches for this process ends, busy or waiting, when this is left."""
    try:
        yield
    finally:
        for batches in list(_busy):
            batches.close()
        while _idle:
            _end(_idle.popitem()[1][0])


def _epoch(dataset: Dataset[Made], shares: Shares, workers: int, *, pin_memory: bool) -> Generator[Made]:
    name = (id(dataset), workers, pin_memory)
    loader, current = _idle.pop(name) if name in _idle else _new_loader(dataset, workers, pin_memory=pin_memory)
    current.shares = shares
    done = False
    try:
        yield from loader
        done = True
    except UserError as error:  # torch prefixes the sentence with the process's traceback
        sentence = str(error).rstrip().rpartition("\n")[2].partition(": ")[2]
        raise UserError(sentence) from error
    except RuntimeError as error:
        if not isinstance(error, SharedMemoryError) and not any(words in str(error) for words in DEATHS):
            raise
        raise RunError(_death(workers)) from error
    finally:
        if done:
            _keep(name, loader, current)
        else:
            _end(loader)


def _keep(name: tuple[Any, ...], loader: DataLoader[Any], current: _Shares) -> None:
    _idle[name] = (loader, current)
    if len(_idle) > IDLE_LOADERS:
        _end(_idle.popitem(last=False)[1][0])


def _end(loader: DataLoader[Any]) -> None:
    # Told to, because an error may hold on to them; torch has no public word for it.
    processes = loader._iterator  # noqa: SLF001
    if processes is not None:
        processes._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001


def _death(workers: int) -> str:
    here = f" ({SHARED_MEMORY} has {shutil.disk_usage(SHARED_MEMORY).total >> 20} MB)" if SHARED_MEMORY.exists() else ""
    return (
        "a loader process died or could not hand over its batch, most likely for lack of memory or of shared memory"
        f"{here}: give the container more (docker run --shm-size=16g), or set compute.loader_workers lower than "
        f"{workers}, 0 for none"
    )


def _new_loader(dataset: Dataset[Made], workers: int, *, pin_memory: bool) -> tuple[DataLoader[Any], _Shares]:
    shares = _Shares()
    # Not fork: the caller may hold threads of torch or Ray.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["siod.data.loading.loader"])
    loader = DataLoader(
        dataset,
        batch_size=None,  # a share is a batch already
        sampler=shares,
        num_workers=workers,
        collate_fn=_shared,
        persistent_workers=True,
        pin_memory=pin_memory,
        worker_init_fn=_end_with_parent,
        multiprocessing_context=context,
        generator=torch.Generator(),  # leaves torch's global stream alone
    )
    return loader, shares


def _end_with_parent(worker: int) -> None:
    """In a loader process: end when the process it works for has died in any way.

    torch asks whether its parent lives. That is the fork server, which in turn lives for as long as what it has forked:
    after a kill both would wait for each other, idle and with their memory, for ever.
    """
    del worker
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end with the parent", daemon=True).start()


def _shared(made: Made) -> Made:
    """Hand over where a lack of shared memory is an error.

    The thread that would do it otherwise loses the batch, and the training waits for it for ever.
    """
    try:
        made.share_memory()
    except RuntimeError as error:
        raise SharedMemoryError(str(error)) from error
    return made
