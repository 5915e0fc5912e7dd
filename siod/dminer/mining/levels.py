"""DMiner: how SPLG and PGCL attach to the dense features of any detector."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from siod.dminer.mining.pgcl import group_contrastive_terms
from siod.dminer.mining.prototypes import annotated_classes
from siod.dminer.mining.quality import MiningCounts, mining_counts
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.types import LossTerm, Mined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool
    from torch import Tensor

    from siod.dminer.mining.pgcl import Selected
    from siod.dminer.mining.prototypes import Annotated as AnnotatedClasses
    from siod.dminer.pgcl import PGCL
    from siod.dminer.splg import SPLG
    from siod.types import DenseLevel, Grid, Target


@dataclass(frozen=True)
class Mining:
    """What the miners made of one batch: ``mined`` and ``terms`` go into the loss.

    ``selected`` has for each level the entries PGCL selected; it is empty where PGCL is absent.
    """

    mined: tuple[Mined, ...]
    terms: dict[str, LossTerm]
    selected: tuple[Bool[Tensor, "b c h w"], ...]
    grids: tuple[Grid, ...]

    def masks(self) -> dict[str, tuple[Bool[Tensor, "b c h w"], ...]]:
        """The entries found in each level, under ``splg`` and ``pgcl`` for the miners that were at work."""
        return {name: tuple(one.bool() for one in maps) for name, maps in self._found().items()}

    def counts(self, targets: Sequence[Target]) -> dict[str, MiningCounts]:
        """Judge what was found by the hidden instances.

        Args:
            targets: One per image of the batch.

        Returns:
            Counts over the batch and all levels, under the names of ``masks``.
        """
        return mining_counts(self._found(), targets, self.grids)

    def _found(self) -> dict[str, tuple[Tensor, ...]]:
        """What each miner that was at work found in each level, not 0 where it found an entry."""
        labels = tuple(level.pseudo for level in self.mined if level.pseudo is not None)
        return {name: maps for name, maps in (("splg", labels), ("pgcl", self.selected)) if maps}


def mine(levels: Sequence[DenseLevel], *, splg: SPLG | None = None, pgcl: PGCL | None = None) -> Mining:
    """Let the miners work on every level of a detector.

    Args:
        levels: Of ``Detector.levels``; they are not changed.
        splg: Makes pseudo labels.
        pgcl: Makes the loss term ``pgcl``, summed and counted over all levels; it may also leave the positions
            it selects out of the negative loss.

    Returns:
        One ``Mined`` for each level, and the loss terms.

    Raises:
        ValueError: ``pgcl.top_m`` has not one entry for each level.

    Source: Li et al., SIOD, CVPR 2022, sections 3.2 to 3.4; the mask is the authors' code's.
    """
    if splg is None and pgcl is None:
        return Mining(tuple(Mined() for _ in levels), {}, (), tuple(level.grid for level in levels))
    annotated = annotated_classes([level.heatmap for level in levels])
    pseudos = [_pseudo(level, classes, splg) for level, classes in zip(levels, annotated, strict=True)]
    contrasted = [] if pgcl is None else _contrast(levels, annotated, pgcl)
    selected = tuple(
        found.mask(classes, _shape(level))
        for level, classes, (_, found) in zip(levels, annotated, contrasted, strict=bool(contrasted))
    )
    masked = pgcl is not None and pgcl.mask_selected
    ignored = [mask.any(dim=1, keepdim=True).expand_as(mask) for mask in selected] if masked else []
    return Mining(
        mined=tuple(Mined(pseudo, mask) for pseudo, mask in zip_longest(pseudos, ignored)),
        terms={"pgcl": _total([term for term, _ in contrasted])} if contrasted else {},
        selected=selected,
        grids=tuple(level.grid for level in levels),
    )


def _pseudo(level: DenseLevel, annotated: AnnotatedClasses, splg: SPLG | None) -> Tensor | None:
    if splg is None:
        return None
    return mine_pseudo_heatmap(
        level.features, level.heatmap, min_similarity=splg.min_similarity, scale=splg.scale, annotated=annotated
    )


def _contrast(
    levels: Sequence[DenseLevel], annotated: Sequence[AnnotatedClasses], pgcl: PGCL
) -> list[tuple[LossTerm, Selected]]:
    top_ms = pgcl.top_m if isinstance(pgcl.top_m, tuple) else (pgcl.top_m,) * len(levels)
    if len(top_ms) != len(levels):
        raise ValueError(f"pgcl.top_m must have one entry for each of the {len(levels)} levels, got {top_ms}")
    return [
        group_contrastive_terms(
            level.features,
            level.scores,
            level.heatmap,
            top_m=top_m,
            temperature=pgcl.temperature,
            reduction=pgcl.reduction,
            annotated=classes,
        )
        for level, classes, top_m in zip(levels, annotated, top_ms, strict=True)
    ]


def _total(terms: Sequence[LossTerm]) -> LossTerm:
    return LossTerm(
        torch.stack([term.total for term in terms]).sum(), torch.stack([term.count for term in terms]).sum()
    )


def _shape(level: DenseLevel) -> tuple[int, int, int, int]:
    batch, classes, height, width = level.heatmap.shape
    return batch, classes, height, width
