"""The loss of a batch is Eq. 2 over the global batch, and nothing else."""

from __future__ import annotations

import pytest
import torch

from siod.detectors.zoo import CENTERNET_TINY, build
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.errors import RunError
from siod.training.phases import Phase
from siod.training.step import batch_loss, refuse_nonfinite
from siod.types import Mined, Target

NO_BOXES = torch.zeros(0, 4)
NO_LABELS = torch.zeros(0, dtype=torch.long)


def a_batch() -> tuple[torch.Tensor, list[Target]]:
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[10.0, 20.0, 40.0, 60.0], [50.0, 50.0, 80.0, 90.0]])
    return images, [
        Target(boxes, torch.tensor([0, 2]), NO_BOXES, NO_LABELS),
        Target(NO_BOXES, NO_LABELS, boxes, torch.tensor([1, 1])),
    ]


def test_the_total_is_the_weighted_sum_of_equation_2() -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY, num_classes=3)
    images, targets = a_batch()
    outputs = detector(images)
    loss = batch_loss(detector, outputs, targets, Phase(1, 1, splg=SPLG(), pgcl=PGCL(top_m=4, weight=0.3)))
    terms = detector.losses(outputs, detector.encode(targets, outputs), loss.mining.mined)
    expected = (
        terms["heatmap"].mean()
        + 0.1 * terms["size"].mean()
        + 1.0 * terms["offset"].mean()
        + 0.3 * loss.mining.terms["pgcl"].mean()
    )
    assert set(loss.parts) == {"heatmap", "size", "offset", "pgcl"}
    torch.testing.assert_close(loss.total(), expected)


def test_without_miners_the_loss_is_the_plain_detector_s_to_the_bit() -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY, num_classes=3)
    images, targets = a_batch()
    outputs = detector(images)
    loss = batch_loss(detector, outputs, targets, Phase(1, 1))
    terms = detector.losses(outputs, detector.encode(targets, outputs), [Mined()])
    plain = torch.stack([detector.loss_weights[name] * term.mean() for name, term in terms.items()]).sum()
    assert torch.equal(loss.total(), plain)
    assert loss.mining.masks() == {}


def test_the_gradient_reaches_the_backbone_through_pgcl_and_not_through_splg() -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY, num_classes=3)
    images, targets = a_batch()
    outputs = detector(images)
    loss = batch_loss(detector, outputs, targets, Phase(1, 1, splg=SPLG(min_similarity=-1), pgcl=PGCL(top_m=4)))
    (through_pgcl,) = torch.autograd.grad(loss.parts["pgcl"], detector.backbone.conv1.weight, retain_graph=True)
    assert through_pgcl.abs().sum() > 0
    (level,) = loss.mining.mined
    assert level.pseudo is not None
    assert level.pseudo.max() > 0
    assert not level.pseudo.requires_grad


def test_a_batch_without_any_annotation_has_a_finite_loss() -> None:
    torch.manual_seed(0)
    detector = build(CENTERNET_TINY, num_classes=3)
    images, targets = a_batch()
    empty = [targets[1], targets[1]]
    loss = batch_loss(detector, detector(images), empty, Phase(1, 1, splg=SPLG(), pgcl=PGCL()))
    assert torch.isfinite(loss.total())
    assert loss.parts["size"] == 0
    assert loss.parts["pgcl"] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(RunError, match=r"'size' is (nan|inf) at epoch 2, step 7; last good checkpoint: epoch_0001\.pt"):
        refuse_nonfinite({"heatmap": 1.0, "size": value}, epoch=2, step=7, last_good="epoch_0001.pt")
