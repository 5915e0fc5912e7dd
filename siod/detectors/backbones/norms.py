"""Normalisation layers of detectors, and how a backbone of somebody else's gets another kind.

B images, D channels.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from jaxtyping import Float  # noqa: TC002  (beartype resolves the annotations at run time)
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FrozenBatchNorm2d

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.backbones.architectures import Norm


def norm_layer(norm: Norm) -> Callable[[int], nn.Module]:
    """The constructor of a normalisation layer from its number of channels.

    Args:
        norm: ``batch`` uses the statistics of each worker's batch; ``frozen`` applies stored ones, so that a
            loss does not depend on how a batch is split; ``group`` uses those of one image.
    """
    if norm == "batch":
        return nn.BatchNorm2d
    return FrozenNorm if norm == "frozen" else _group_norm


class FrozenNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, which leaves half precision in half precision.

    Its own product with float32 statistics would be float32, and with it every map that a backbone keeps for the
    backward pass: more memory under autocast than without.
    """

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Scale and shift each channel; half precision is rounded once, at the end."""
        if x.dtype == self.weight.dtype:
            scaled: Tensor = super().forward(x)
            return scaled
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class StoredNorm(FrozenNorm):
    """A frozen normalisation in one pass over the maps, where torchvision's makes two."""

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Scale and shift each channel."""
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(32, channels), channels)


def possible_norms(model: nn.Module) -> tuple[Norm, ...]:
    """What the normalisation of somebody else's model can be; ``batch`` leaves it as it is."""
    found = {type(module) for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    if not found:
        return ("batch",)
    # timm's layers that normalise and rectify in one have no counterpart with groups.
    return ("batch", "frozen", "group") if found == {nn.BatchNorm2d} else ("batch", "frozen")


def with_norm(model: nn.Module, norm: Norm) -> nn.Module:
    """Give every batch normalisation of a model another kind.

    Args:
        model: Changed in place.
        norm: ``frozen`` keeps factors and statistics, ``group`` begins anew.
    """
    if norm == "batch":
        return model
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            model.set_submodule(path, _instead_of(module, norm))
    return model


def _instead_of(old: nn.BatchNorm2d, norm: Norm) -> nn.Module:
    if norm == "group":
        return _group_norm(old.num_features)
    if type(old) is not nn.BatchNorm2d:
        from timm.layers import freeze_batch_norm_2d  # noqa: PLC0415  (an optional extra, which has this layer)

        frozen: nn.Module = freeze_batch_norm_2d(old)
        return frozen
    stored = StoredNorm(old.num_features, eps=old.eps)
    stored.load_state_dict(old.state_dict())
    return stored
