"""DMiner: how SPLG, PGCL and reject attach to the dense features of any detector."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch

from siod.dminer.mining.pgcl import group_contrastive_terms
from siod.dminer.mining.prototypes import annotated_classes
from siod.dminer.mining.quality import MiningCounts, mining_counts
from siod.dminer.mining.reject import as_map, hardest_negatives
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.types import LossTerm, Mined, may_hide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Int8
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
        """The entries found in each level, under ``splg``, ``pgcl`` and ``reject`` for the miners at work."""
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
        rejected = tuple(level.rejected for level in self.mined if level.rejected is not None)
        found = {"splg": labels, "pgcl": self.selected, "reject": rejected}
        return {name: maps for name, maps in found.items() if maps}


def mine(
    levels: Sequence[DenseLevel],
    *,
    splg: SPLG | None = None,
    pgcl: PGCL | None = None,
    rejected_share: float = 0.0,
    states: Int8[Tensor, "b c"] | None = None,
) -> Mining:
    """Let the miners work on every level of a detector.

    Args:
        levels: Of ``Detector.levels``; they are not changed.
        splg: Makes pseudo labels.
        pgcl: Makes the loss term ``pgcl``, summed and counted over all levels; it may also leave the positions
            it selects out of the negative loss.
        rejected_share: Of the unlabelled entries of each image and level that are left out of the negative loss, in
            [0, 1]; entries with a pseudo label are none of them.
        states: The :class:`siod.state.State` of each class in each image. Only entries of those that may hide
            instances are rejected; none where it is None.

    Returns:
        One ``Mined`` for each level, and the loss terms.

    Raises:
        ValueError: ``pgcl.top_m`` has not one entry for each level, or ``rejected_share`` is out of range.

    Source: Li et al., SIOD, CVPR 2022, sections 3.2 to 3.4; the mask is the authors' code's. Reject is that of
        :func:`siod.dminer.mining.reject.hardest_negatives`.
    """
    grids = tuple(level.grid for level in levels)
    hiding = None if states is None or not rejected_share else may_hide(states)
    if splg is None and pgcl is None and hiding is None:
        return Mining(tuple(Mined() for _ in levels), {}, (), grids)
    annotated, slots = _classes(levels if splg or pgcl else (), hiding)
    pseudos = [_pseudo(*each, splg) for each in zip(levels, annotated, strict=True)] if splg else []
    contrasted = _contrast(levels, annotated, pgcl) if pgcl else []
    selected = tuple(
        found.mask(classes, _shape(level))
        for level, classes, (_, found) in zip(levels, annotated, contrasted, strict=bool(contrasted))
    )
    rejected = [] if hiding is None else _reject(levels, pseudos, hiding, slots, rejected_share)
    ignored = [_either(*masks) for masks in zip_longest(_masked(selected, pgcl), rejected)]
    return Mining(
        mined=tuple(Mined(*parts) for _, *parts in zip_longest(levels, pseudos, ignored, rejected)),
        terms={"pgcl": _total([term for term, _ in contrasted])} if contrasted else {},
        selected=selected,
        grids=grids,
    )


def _classes(
    levels: Sequence[DenseLevel], hiding: Bool[Tensor, "b c"] | None
) -> tuple[list[AnnotatedClasses], AnnotatedClasses | None]:
    """The annotated classes of each level, and the classes that may hide instances; read from the device at once."""
    maps = [level.heatmap for level in levels]
    if hiding is None:
        return annotated_classes(maps), None
    *annotated, slots = annotated_classes([*maps, as_map(hiding)])
    return annotated, slots


def _pseudo(level: DenseLevel, annotated: AnnotatedClasses, splg: SPLG) -> Tensor:
    return mine_pseudo_heatmap(
        level.features, level.heatmap, min_similarity=splg.min_similarity, scale=splg.scale, annotated=annotated
    )


def _reject(
    levels: Sequence[DenseLevel],
    pseudos: Sequence[Tensor],
    hiding: Bool[Tensor, "b c"],
    slots: AnnotatedClasses | None,
    share: float,
) -> list[Tensor]:
    """The rejected entries of each level; those with a pseudo label are labelled."""
    labels = [
        level.heatmap if pseudo is None else level.heatmap + pseudo for level, pseudo in zip_longest(levels, pseudos)
    ]
    return [
        hardest_negatives(level.scores, target, hiding, share=share, slots=slots)
        for level, target in zip(levels, labels, strict=True)
    ]


def _masked(selected: Sequence[Tensor], pgcl: PGCL | None) -> list[Tensor]:
    """What PGCL leaves out of the negative loss in each level, if it does."""
    if pgcl is None or not (pgcl.mask_selected or pgcl.mask_own_class):
        return []
    if pgcl.mask_own_class:
        return list(selected)
    return [mask.any(dim=1, keepdim=True).expand_as(mask) for mask in selected]


def _either(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one | other if one is not None and other is not None else one if other is None else other


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
