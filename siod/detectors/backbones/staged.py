"""Backbones out of models that somebody else wrote: their layers one after the other, in stages of one stride each.

Strides and channels are read off the model, as it takes an image that has no content (torch's meta device).

B images of H x W pixels, D channels.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn

from siod.detectors.backbones.backbone import Backbone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siod.detectors.backbones.pixels import PixelStatistics

# Neither square nor a power of two, so that only maps divide both of its sides alike.
PROBE_SIZE_PX = (192, 320)
LEAST_STAGES = 3
CONTAINERS = (nn.Sequential, nn.ModuleList)
# What ends a classifier's layers: they mix channels alone.
POINTWISE = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Dropout, nn.Identity)


class Stage(NamedTuple):
    """Layers that end in maps of one stride.

    ``layers`` are their paths in the model, in the order in which they are run.
    """

    stride_px: int
    channels: int
    layers: tuple[str, ...]


class _Run(NamedTuple):
    """A layer as it was run; versions count how often a tensor was changed in place."""

    path: str
    given: Any
    given_version: int
    made: Any
    made_version: int


def read_stages(model: nn.Module) -> tuple[Stage, ...]:
    """Find the stages of a model.

    Args:
        model: A classifier or feature extractor on the meta device; layers after the last map do not matter. It is of
            no use afterwards.

    Returns:
        From the finest to the coarsest, at least three, each at twice the stride of the one before.

    Raises:
        ValueError: The model is no chain of layers with maps of such strides.
    """
    chain = _without_widening(model, list(_chain(_run_layers(model))))
    stages = []
    for stride, runs in groupby(chain, key=lambda run: _stride_px(run.made)):
        layers = list(runs)
        stages.append(Stage(stride or 0, layers[-1].made.shape[1], tuple(run.path for run in layers)))
    doubling = all(coarse.stride_px == 2 * fine.stride_px for fine, coarse in pairwise(stages))
    if len(stages) < LEAST_STAGES or not doubling:
        raise ValueError("its layers do not make maps of three strides or more, each twice the one before")
    return tuple(stages)


def _layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The parts a model is a sequence of, with their paths."""
    for name, module in model.named_children():
        path = f"{prefix}{name}"
        if type(module) in CONTAINERS:
            yield from _layers(module, f"{path}.")
        else:
            yield path, module


def _run_layers(model: nn.Module) -> list[_Run]:
    """Run a model on an image without content."""
    runs: list[_Run] = []
    versions: dict[str, int] = {}

    def note_version(path: str, inputs: tuple[Any, ...]) -> None:
        versions[path] = _version(inputs)

    def note_run(path: str, inputs: tuple[Any, ...], made: Any) -> None:
        runs.append(_Run(path, inputs[0] if inputs else None, versions[path], made, _version((made,))))

    for path, module in _layers(model):
        module.register_forward_pre_hook(lambda _, inputs, path=path: note_version(path, inputs))
        module.register_forward_hook(lambda _, inputs, made, path=path: note_run(path, inputs, made))
    try:
        with torch.no_grad():
            model.eval()(torch.empty(1, 3, *PROBE_SIZE_PX, device="meta"))
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it does not take images of any size ({str(error).splitlines()[0]})") from error
    return runs


def _version(tensors: tuple[Any, ...]) -> int:
    # torch counts changes in place for autograd's sake, and shows them by no other name.
    return tensors[0]._version if tensors and isinstance(tensors[0], Tensor) else 0  # noqa: SLF001


def _chain(runs: Sequence[_Run]) -> Iterator[_Run]:
    """The runs from the first on, as long as each makes a map of what the one before left."""
    before: _Run | None = None
    for run in runs:
        follows = before is None or (run.given is before.made and run.given_version == before.made_version)
        if not follows or _stride_px(run.made) is None:
            return
        yield run
        before = run


def _stride_px(made: object) -> int | None:
    """Pixels between positions, or None where it is no map of the probe."""
    if not isinstance(made, Tensor) or made.dim() != len("bdhw"):
        return None
    height, width = PROBE_SIZE_PX
    stride = height // made.shape[2]
    return stride if (made.shape[2] * stride, made.shape[3] * stride) == (height, width) else None


def _without_widening(model: nn.Module, chain: Sequence[_Run]) -> Sequence[_Run]:
    """Leave out a last 1 x 1 convolution, which only widens the maps for a classifier."""
    end = len(chain)
    while end and _is_pointwise(model.get_submodule(chain[end - 1].path)):
        end -= 1
    widens = any(
        isinstance(module, nn.Conv2d) for run in chain[end:] for module in model.get_submodule(run.path).modules()
    )
    return chain[:end] if widens else chain


def _is_pointwise(layer: nn.Module) -> bool:
    leaves = [module for module in layer.modules() if not list(module.children())]
    return all(
        isinstance(leaf, POINTWISE) and (not isinstance(leaf, nn.Conv2d) or leaf.kernel_size == (1, 1))
        for leaf in leaves
    )


class StagedBackbone(Backbone):
    """Somebody else's model up to its last stage; parameters keep their names, behind ``model.``.

    Args:
        name: Of the architecture.
        model: Whose layers to take.
        stages: Of ``read_stages``.
        pixels: What normalised the images its published weights were learnt from.
    """

    def __init__(self, name: str, model: nn.Module, stages: Sequence[Stage], *, pixels: PixelStatistics) -> None:
        super().__init__(name)
        self.model = nn.Module()
        for stage in stages:
            for path in stage.layers:
                _place(self.model, path, model.get_submodule(path))
        self._layers_of_stages = tuple(stage.layers for stage in stages)
        self.stage_channels = tuple(stage.channels for stage in stages)
        self.pixels = pixels

    @property
    def architecture(self) -> nn.Module:
        """The layers."""
        return self.model

    def early_stages(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """Extract the features of all stages but the last, from the finest to C4."""
        maps: list[Tensor] = []
        for stage in range(len(self._layers_of_stages) - 1):
            maps.append(self._run(stage, maps[-1] if maps else images))
        return tuple(maps)

    def last_stage(self, features: Float[Tensor, "b d _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Make C5 of C4."""
        return self._run(-1, features)

    def _run(self, stage: int, features: Tensor) -> Tensor:
        for path in self._layers_of_stages[stage]:
            features = self.model.get_submodule(path)(features)
        return features

    def freezable(self) -> tuple[nn.Module, ...]:
        """All stages but the last; the stem is the stage of the finest maps."""
        return tuple(
            nn.ModuleList([self.model.get_submodule(path) for path in layers]) for layers in self._layers_of_stages[:-1]
        )


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module where its path says, in containers made on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in dict(root.named_children()):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)
