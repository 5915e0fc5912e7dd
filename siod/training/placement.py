"""Where a run is carried out: one decision, taken once, from what it asks for and from what the machines offer.

Pure: nothing is started or looked for here. ``siod.training.devices`` and ``siod.tuning.running.cluster`` say what
there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from siod.errors import UserError
from siod.training.phases import total_epochs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from siod.training.experiment import Compute, Experiment

# Ray counts in steps of 1e-4; less than that is rounding.
EPSILON = 1e-6
# More processes than that read no faster than one GPU learns: CenterNet-R18 in bf16 is expected to take 5 or 6.
MOST_LOADERS = 12
# For a GPU machine that the autoscaler has not started yet: the smallest ones of the clouds have four cores.
LOADERS_UNSEEN = 3
# Pixels a training looks at (images x epochs x input). The digits presets have about 1e8, minutes on one core; COCO's
# shortest has 1e12. 1e10 pixels are 38,000 images at 512 px, which CenterNet-R18 takes most of a day for on one core.
LONG_ON_CPU_PIXELS = 1e10
# A resized image keeps its proportions; most photographs are three by four.
PHOTOGRAPH_ASPECT = 4 / 3
DEVICE_REMEDY = "run it where a GPU is, or say yes to the CPU with --device cpu"

DeviceKind = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Node:
    """What one machine offers."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Placement:
    """What each worker of a run is given; nothing in it is left open.

    Args:
        workers: Processes that train, each within one machine.
        cpus: Cores that are reserved for each, its loader processes included.
        gpus: GPUs that are reserved for each; less than one is a share.
        loader_workers: Processes of each that decode images.
    """

    workers: int
    cpus: float
    gpus: float = 0.0
    loader_workers: int = 0

    @classmethod
    def of(cls, compute: Compute) -> Placement:
        """The placement of a run that was placed (:func:`place`).

        Raises:
            ValueError: Something is still automatic.
        """
        cpus, gpus, loaders = compute.cpus_per_worker, compute.gpus_per_worker, compute.loader_workers
        if cpus is None or gpus is None or loaders is None:
            message = f"compute is automatic still; place it first (received {compute!r})"
            raise ValueError(message)
        return cls(compute.workers, cpus, gpus, loaders)

    @property
    def device(self) -> DeviceKind:
        """Where it trains: it follows from what is reserved, never from what is visible."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Threads of a worker's own arithmetic: the cores its loader processes leave."""
        return max(1, int(self.cpus) - self.loader_workers)

    def __str__(self) -> str:
        """For people: ``2 workers of 1 GPU, 9 CPU (8 loader processes)``."""
        each = (f"{self.gpus:g} GPU, " if self.gpus else "") + f"{self.cpus:g} CPU"
        if self.loader_workers:
            each += f" ({self.loader_workers} loader process{'es' * (self.loader_workers != 1)})"
        return each if self.workers == 1 else f"{self.workers} workers of {each}"


def place(compute: Compute, nodes: Sequence[Node]) -> Compute:
    """Decide what is automatic: the GPUs, the loader processes and the cores of each worker.

    Where any machine has GPUs a worker gets one, and its share of the cores of the GPU machines, one of which trains
    while the others load. Where there is none it gets one core. What is set stays as it is; loader processes that are
    set are reserved beside the core that trains.

    Args:
        compute: What is asked for.
        nodes: What there is.

    Returns:
        The same, definite.

    Example:
        >>> from siod.training.experiment import Compute
        >>> str(Placement.of(place(Compute(), [Node(cpus=36, gpus=4)])))
        '1 GPU, 9 CPU (8 loader processes)'
    """
    gpus = compute.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in nodes) else 0.0
    loaders = compute.loader_workers
    if loaders is None:
        loaders = _loaders(compute.cpus_per_worker, gpus, nodes) if gpus else 0
    cpus = compute.cpus_per_worker or 1.0 + loaders
    return compute.with_changes({"cpus_per_worker": cpus, "gpus_per_worker": gpus, "loader_workers": loaders})


def placed(experiment: Experiment, nodes: Sequence[Node]) -> Experiment:
    """The same experiment with its ``compute`` placed; one that was placed before stays where it is.

    Args:
        experiment: What to train.
        nodes: What there is.
    """
    return experiment.model_copy(update={"compute": place(experiment.compute, nodes)})


def _loaders(cpus: float | None, gpus: float, nodes: Sequence[Node]) -> int:
    """The cores of a worker on a GPU but the one that trains."""
    if cpus is None:
        shares = [node.cpus / node.gpus for node in nodes if node.gpus]
        if not shares:
            return LOADERS_UNSEEN
        cpus = min(shares) * gpus
    return min(MOST_LOADERS, max(0, math.floor(cpus + EPSILON) - 1))


def fits_at_once(placement: Placement, nodes: Sequence[Node]) -> int:
    """How many trials of one kind the machines hold at the same time.

    Args:
        placement: Of each.
        nodes: What there is.

    Returns:
        Number of trials; 0 when not even one fits.

    Example:
        >>> fits_at_once(Placement(workers=2, cpus=1), [Node(cpus=3), Node(cpus=2)])
        2
    """
    return sum(_workers_on(node, placement) for node in nodes) // placement.workers


def _workers_on(node: Node, placement: Placement) -> int:
    by_cpu = node.cpus / placement.cpus + EPSILON
    if not placement.gpus:
        return int(by_cpu)
    # A share is of one GPU: what two of them have left makes no third.
    by_gpu = node.gpus / placement.gpus if placement.gpus >= 1 else int(node.gpus) * int(1 / placement.gpus + EPSILON)
    return int(min(by_cpu, by_gpu + EPSILON))


def refuse_unplaceable(name: str, placement: Placement, nodes: Sequence[Node]) -> int:
    """Refuse what could never start, instead of letting it wait for ever.

    Args:
        name: Of the trial, for the error.
        placement: What it asks for.
        nodes: What there is.

    Returns:
        How many of its kind fit at once.

    Raises:
        UserError: Not even one fits.
    """
    fits = fits_at_once(placement, nodes)
    if placement.gpus and not any(node.gpus for node in nodes):
        raise UserError(
            f"{name} asks for a GPU, and there is none here ({inventory(nodes)}); leave out --device cuda and "
            "--gpus-per-worker, or set compute.gpus_per_worker to 0"
        )
    if fits == 0:
        raise UserError(
            f"{name} asks for {placement}, which can never fit here ({inventory(nodes)}); lower compute.workers, "
            "compute.cpus_per_worker, compute.gpus_per_worker or compute.loader_workers"
        )
    return fits


def inventory(nodes: Sequence[Node]) -> str:
    """What the machines offer, for people: ``2 nodes: 4 CPU, 1 GPU; 8 CPU, 0 GPU``."""
    offers = "; ".join(f"{node.cpus:g} CPU, {node.gpus:g} GPU" for node in nodes)
    return f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}: {offers}"


def describe(placement: Placement, at_once: int, nodes: Sequence[Node]) -> str:
    """Say what some trials of one kind get, and what stays idle beside them.

    Args:
        placement: Of each.
        at_once: How many run at the same time.
        nodes: What there is.

    Example:
        >>> describe(Placement(1, 9, 1, 8), 4, [Node(36, 4)])
        '4 trials at once, each 1 GPU, 9 CPU (8 loader processes); nothing idle'
        >>> describe(Placement(1, 9, 1, 8), 3, [Node(36, 4)])
        '3 trials at once, each 1 GPU, 9 CPU (8 loader processes); idle: 1 GPU, 9 CPU'
    """
    used = at_once * placement.workers
    spare = {
        # A worker trains on one GPU, however many it holds.
        "GPU": sum(node.gpus for node in nodes) - used * min(placement.gpus, 1.0),
        "CPU": sum(node.cpus for node in nodes) - used * placement.cpus,
    }
    idle = ", ".join(f"{round(amount, 4):g} {what}" for what, amount in spare.items() if amount > EPSILON)
    return f"{_each(placement, at_once)}; {f'idle: {idle}' if idle else 'nothing idle'}"


def describe_autoscaled(placement: Placement, at_once: int) -> str:
    """As :func:`describe`, for a cluster whose machines are started as they are needed."""
    return f"{_each(placement, at_once)}; the autoscaler starts the machines"


def _each(placement: Placement, at_once: int) -> str:
    return f"{at_once} trial{'s' * (at_once != 1)} at once, each {placement}"


def trained_pixels(experiment: Experiment, images: int) -> float:
    """Pixels of the input that a training looks at: what it will cost, roughly, whatever the detector.

    Args:
        experiment: Its augmentation says the size of the input, its recipe the epochs.
        images: In the training set.
    """
    augmentation = experiment.augmentation
    if augmentation.input_size is not None:
        height, width = augmentation.input_size
        pixels = float(height * width)
    else:
        assert augmentation.short_edge is not None  # noqa: S101  (one of the two is set)
        lengths = augmentation.short_edge.lengths
        pixels = PHOTOGRAPH_ASPECT * sum(length**2 for length in lengths) / len(lengths)
    return images * total_epochs(experiment) * pixels


def long_on_cpu(experiments: Collection[tuple[Experiment, int]]) -> str | None:
    """Whether some placed runs are of COCO's size and would train on CPU cores: what to ask about them.

    Args:
        experiments: Each with the number of its training images.

    Returns:
        What would be done, as a sentence without its end; None when nothing is to be asked.
    """
    on_cpu = [
        trained_pixels(experiment, images)
        for experiment, images in experiments
        if Placement.of(experiment.compute).device == "cpu"
    ]
    largest = max(on_cpu, default=0.0)
    if largest <= LONG_ON_CPU_PIXELS:
        return None
    many = sum(pixels > LONG_ON_CPU_PIXELS for pixels in on_cpu)
    what = "1 trial" if many == 1 else f"{many} trials"
    return f"{what} of COCO's size ({largest:.1e} pixels of input; digits have 1e8) would train on CPU cores"
