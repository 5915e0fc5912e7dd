"""How the miners attach to a detector."""

from __future__ import annotations

import pytest
import torch

from siod.detectors.zoo import CENTERNET_TINY, build
from siod.dminer.dminer import DMiner, Staged
from siod.dminer.mining.levels import mine
from siod.dminer.mining.pgcl import group_contrastive_terms
from siod.dminer.mining.reject import hardest_negatives
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.dminer.pgcl import PGCL
from siod.dminer.reject import Reject
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.state import State
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


def test_selected_entries_are_ignored_for_their_own_class_when_asked() -> None:
    mining = mine([level()], pgcl=PGCL(top_m=5, mask_own_class=True))
    (ignored,) = (mined.ignored for mined in mining.mined)
    assert ignored is not None
    assert torch.equal(ignored, mining.selected[0])
    assert ignored.sum() == 2 * 5
    assert mining.mined[0].rejected is None


def test_a_mask_for_all_classes_needs_none_for_one() -> None:
    with pytest.raises(UserError, match="mask_own_class has no effect with mask_selected"):
        PGCL(mask_selected=True).with_changes({"mask_own_class": True})
    assert "mask_own_class" not in PGCL(mask_selected=True).model_dump(mode="json")


# Of ``level``: the annotated classes are 1, and 0 and 2.
KEEP_1 = torch.tensor([[State.ABSENT, State.SOME, State.ABSENT], [State.SOME, State.ABSENT, State.SOME]]).to(torch.int8)
HIDING = KEEP_1 == State.SOME


def test_reject_alone_ignores_the_hardest_entries_of_classes_that_may_hide() -> None:
    mining = mine([level()], rejected_share=0.1, states=KEEP_1)
    expected = hardest_negatives(level().scores, level().heatmap, HIDING, share=0.1)
    (mined,) = mining.mined
    assert mined.pseudo is None
    assert mined.ignored is not None
    assert mined.rejected is not None
    assert torch.equal(mined.ignored, expected)
    assert torch.equal(mined.rejected, expected)
    assert expected.sum(dim=(1, 2, 3)).tolist() == [4, 7]  # of 35 and 70 entries
    assert torch.equal(mining.masks()["reject"][0], expected)
    assert mining.masks().keys() == {"reject"}
    assert mining.terms == {}


@pytest.mark.parametrize("states", [None, torch.zeros_like(KEEP_1), torch.full_like(KEEP_1, State.UNLABELLED)])
def test_nothing_is_rejected_of_absent_complete_and_unlabelled_classes(states: torch.Tensor | None) -> None:
    (mined,) = mine([level()], rejected_share=0.5, states=states).mined
    assert mined.ignored is None or not mined.ignored.any()


def test_all_classes_of_an_image_of_which_nothing_is_known_may_be_rejected() -> None:
    (mined,) = mine([level()], rejected_share=0.5, states=torch.full_like(KEEP_1, State.UNKNOWN)).mined
    assert mined.ignored is not None
    assert mined.ignored.sum(dim=(1, 2, 3)).tolist() == [54, 53]  # half of 107 and of 106 entries, 53.5 to the even one
    assert bool(mined.ignored.flatten(2).any(dim=2).all())


def test_what_pgcl_masks_and_what_is_rejected_are_both_ignored() -> None:
    mining = mine([level()], pgcl=PGCL(top_m=5, mask_own_class=True), rejected_share=0.1, states=KEEP_1)
    (mined,) = mining.mined
    rejected = hardest_negatives(level().scores, level().heatmap, HIDING, share=0.1)
    assert mined.ignored is not None
    assert torch.equal(mined.ignored, mining.selected[0] | rejected)
    assert mining.masks().keys() == {"pgcl", "reject"}


def test_an_entry_keeps_its_pseudo_label_and_the_hardest_of_the_others_are_rejected() -> None:
    mining = mine([level()], splg=SPLG(min_similarity=0.3), rejected_share=0.3, states=KEEP_1)
    (mined,) = mining.mined
    assert mined.pseudo is not None
    assert mined.ignored is not None
    assert not (mined.ignored & (mined.pseudo > 0)).any()
    expected = hardest_negatives(level().scores, level().heatmap + mined.pseudo, HIDING, share=0.3)
    assert torch.equal(mined.ignored, expected)
    assert expected.any()


def test_each_level_rejects_its_share() -> None:
    levels = [level(0), level(1, side=5, stride_px=8)]
    mining = mine(levels, splg=SPLG(), pgcl=PGCL(top_m=(5, 3)), rejected_share=0.1, states=KEEP_1)
    found = [mined.rejected.sum().item() for mined in mining.mined if mined.rejected is not None]
    for one, mined in zip(levels, mining.mined, strict=True):
        assert mined.pseudo is not None
        expected = hardest_negatives(one.scores, one.heatmap + mined.pseudo, HIDING, share=0.1)
        assert mined.rejected is not None
        assert torch.equal(mined.rejected, expected)
    assert len(found) == 2


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


def test_any_of_the_three_miners_may_be_alone() -> None:
    alone = DMiner(splg=None, pgcl=None, reject=Reject())
    assert DMiner.model_validate_json(alone.model_dump_json()) == alone
    assert "reject" not in DMiner().model_dump(mode="json")


def test_a_dminer_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="splg, pgcl and reject are all absent"):
        DMiner().with_changes({"splg": None, "pgcl": None})
