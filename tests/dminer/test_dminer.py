"""How the two miners attach to a detector."""

from __future__ import annotations

import pytest
import torch

from siod.detectors.zoo import CENTERNET_TINY, build
from siod.dminer.dminer import DMiner, Staged
from siod.dminer.mining.levels import mine
from siod.dminer.mining.pgcl import group_contrastive_terms
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.types import DenseLevel, Grid, Target


def level(seed: int = 0, *, side: int = 6, stride_px: int = 4) -> DenseLevel:
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.zeros(2, 3, side, side)
    heatmap[0, 1, 2, 2] = heatmap[1, 0, 1, 3] = heatmap[1, 2, 3, 0] = 1
    features = torch.randn(2, 4, side, side, generator=generator)
    return DenseLevel(
        features, torch.rand(2, 3, side, side, generator=generator), heatmap, Grid(stride_px, stride_px / 2)
    )


def test_without_miners_nothing_is_added() -> None:
    mining = mine([level(), level(1)])
    assert [(mined.pseudo, mined.ignored) for mined in mining.mined] == [(None, None)] * 2
    assert mining.terms == {}
    assert mining.masks() == {}


def test_splg_alone_gives_its_pseudo_heatmap() -> None:
    mining = mine([level()], splg=SPLG(min_similarity=0.3, scale=0.9))
    expected = mine_pseudo_heatmap(level().features, level().heatmap, min_similarity=0.3, scale=0.9)
    (mined,) = mining.mined
    assert mined.pseudo is not None
    assert torch.equal(mined.pseudo, expected)
    assert mined.ignored is None
    assert mining.terms == {}
    assert torch.equal(mining.masks()["splg"][0], expected > 0)
    assert expected.sum() > 0


def test_pgcl_alone_gives_its_loss_and_what_it_selected() -> None:
    one = level()
    mining = mine([one], pgcl=PGCL(top_m=5, temperature=0.2, reduction="paper"))
    expected, _ = group_contrastive_terms(
        one.features, one.scores, one.heatmap, top_m=5, temperature=0.2, reduction="paper"
    )
    assert mining.terms["pgcl"].total == expected.total
    assert mining.terms["pgcl"].count == expected.count == 2
    assert mining.mined[0].pseudo is None
    assert mining.mined[0].ignored is None
    assert [mask.sum().item() for mask in mining.masks()["pgcl"]] == [2 * 5]


def test_selected_positions_are_ignored_for_every_class_when_asked() -> None:
    mining = mine([level()], pgcl=PGCL(top_m=5, mask_selected=True))
    (ignored,) = (mined.ignored for mined in mining.mined)
    assert ignored is not None
    assert torch.equal(ignored, mining.selected[0].any(dim=1, keepdim=True).expand(-1, 3, -1, -1))
    assert ignored.sum() == 2 * 5 * 3


def test_levels_are_mined_apart_and_their_terms_added() -> None:
    levels = [level(0), level(1, side=4, stride_px=8)]
    mining = mine(levels, splg=SPLG(min_similarity=0.3), pgcl=PGCL(top_m=(5, 3)))
    alone = [mine([one], pgcl=PGCL(top_m=top_m)).terms["pgcl"] for one, top_m in zip(levels, (5, 3), strict=True)]
    assert mining.terms["pgcl"].total.item() == pytest.approx(sum(term.total.item() for term in alone))
    assert mining.terms["pgcl"].count == sum(term.count for term in alone)
    assert [mask.sum().item() for mask in mining.selected] == [10, 6]
    assert [mined.pseudo.shape[-1] for mined in mining.mined if mined.pseudo is not None] == [6, 4]
    assert [grid.stride_px for grid in mining.grids] == [4, 8]


def test_one_top_m_for_each_level_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"pgcl\.top_m must have one entry for each of the 1 levels, got \(96, 64\)"):
        mine([level()], pgcl=PGCL(top_m=(96, 64)))


def test_a_detector_trains_with_both_miners() -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY, num_classes=3)
    boxes = torch.tensor([[8.0, 8.0, 24.0, 28.0]])
    targets = [Target(boxes, torch.tensor([1]), boxes + 20, torch.tensor([1])), empty()]
    outputs = detector(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    encoded = detector.encode(targets, outputs)
    mining = mine(detector.levels(outputs, encoded), splg=SPLG(), pgcl=PGCL(top_m=16, mask_selected=True))
    terms = {**detector.losses(outputs, encoded, mining.mined), **mining.terms}
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    assert set(terms) == {"heatmap", "size", "offset", "pgcl"}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    counts = mining.counts(targets)
    assert counts["pgcl"].entries == 16
    assert counts["pgcl"].hidden == counts["splg"].hidden == 1


def empty() -> Target:
    boxes, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    return Target(boxes, labels, boxes, labels)


def test_staged_training_needs_both_miners() -> None:
    assert DMiner(staged=Staged(second_epochs=3)).staged == Staged(second_epochs=3, lr_factor=0.1)
    with pytest.raises(UserError, match="staged needs both splg and pgcl"):
        DMiner().with_changes({"staged": Staged(), "splg": None})


def test_a_dminer_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="splg, pgcl and reject are all absent"):
        DMiner().with_changes({"splg": None, "pgcl": None})
