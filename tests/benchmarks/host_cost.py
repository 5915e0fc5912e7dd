"""What a piece of code costs the host of a GPU, counted on a CPU: tensor operations, and those that would wait.

Every operation that reaches the dispatcher is one launch on a GPU. Some of them cannot end before the device has: they
read a value back, their output's shape depends on values, or they copy from memory the device cannot read by itself.
Code that works in smaller pieces on a CPU takes a device's while it is counted.
"""

from __future__ import annotations

import contextlib
import importlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Module, size of its pieces on a CPU, and on a device.
PIECES = (("siod.ops.focal", "CPU_CHUNK", "DEVICE_CHUNK"), ("siod.ops.suppression", "CPU_BOXES", "DEVICE_BOXES"))
# A value is read, or the shape of the output depends on values.
WAITING = {
    "_local_scalar_dense",
    "item",  # in inference mode operations arrive whole
    "argwhere",
    "equal",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "nms",
    "lift_fresh",  # torch.tensor, new_tensor and x[[2, 0]]: a copy from pageable memory
}
# Views and fresh memory cost the host a little and the device nothing; they are no launches.
NO_LAUNCHES = {
    "view",
    "_unsafe_view",
    "reshape",
    "expand",
    "permute",
    "transpose",
    "t",
    "unsqueeze",
    "squeeze",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "unbind",
    "alias",
    "detach",
    "as_strided",
    "diagonal",
    "unfold",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "set_",
    "promote_types",
    "_record_function_enter_new",
    "_record_function_exit",
}


class HostCost(TorchDispatchMode):
    """Counts operations and synchronisations while it is active, of the backward pass too.

    Example:
        >>> with HostCost() as cost:
        ...     _ = float(torch.ones(3).sum())
        >>> (cost.operations, cost.synchronisations)
        (3, 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._reads = _Reads(self.waits)
        self._pieces = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Count from here on."""
        for module, on_cpu, on_device in PIECES:
            self._pieces.enter_context(_pieces_of_a_device(module, on_cpu, on_device))
        self._reads.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Count no more."""
        super().__exit__(*error)
        self._reads.__exit__(*error)
        self._pieces.close()

    @property
    def operations(self) -> int:
        """Launches: all operations but views and fresh memory."""
        return sum(count for name, count in self.by_name.items() if name not in NO_LAUNCHES)

    @property
    def synchronisations(self) -> int:
        """Operations that would wait for the device."""
        return self.waits.total()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count one operation and carry it out."""
        del types
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0]
        self.by_name[name] += 1
        if name in WAITING or _indexed_by_mask(name, args) or _repeated(name, kwargs) or _places(name, args):
            self.waits[name] += 1
        return func(*args, **kwargs)


@contextlib.contextmanager
def _pieces_of_a_device(module: str, on_cpu: str, on_device: str) -> Iterator[None]:
    """Let a module work on a CPU in the pieces that it takes on a device; an older version may not have it."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        yield
        return
    before = getattr(found, on_cpu)
    setattr(found, on_cpu, getattr(found, on_device))
    try:
        yield
    finally:
        setattr(found, on_cpu, before)


class _Reads(TorchFunctionMode):
    """Counts copies to the host that are none where the device is the host."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count ``tolist`` and ``cpu``, and carry them out."""
        del types
        name = getattr(func, "__name__", "")
        if name in {"tolist", "cpu"}:
            self.waits[name] += 1
        return func(*args, **(kwargs or {}))


def _indexed_by_mask(name: str, args: tuple[Any, ...]) -> bool:
    """True for ``x[mask]`` and ``x[mask] = y``, which look for the mask's positions first."""
    if name not in {"index", "index_put", "index_put_", "_index_put_impl_"}:
        return False
    return any(index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1])


def _repeated(name: str, kwargs: dict[str, Any]) -> bool:
    """True for ``repeat_interleave`` by a tensor whose sum nobody told."""
    return name == "repeat_interleave" and kwargs.get("output_size") is None


def _places(name: str, args: tuple[Any, ...]) -> bool:
    """True for ``where`` of a mask alone, which is ``nonzero``."""
    return name == "where" and len(args) == 1
