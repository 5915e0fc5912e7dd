"""What DMiner asks of a detector: maps to mine, losses that read what was mined, and nothing of it without miners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from siod.testing.networks import (
    CLASSES,
    eager,
    equal,
    fresh,
    losses_without_and_with_labels,
    miners,
    noise_for,
)
from siod.testing.requirement import require
from siod.testing.scenes import two_targets
from siod.training.phases import Phase
from siod.training.step import batch_loss
from siod.types import Mined

if TYPE_CHECKING:
    from siod.detectors.detector import DetectorSpec
    from siod.types import DenseLevel, Target


def check_without_miners_the_loss_is_plain(spec: DetectorSpec) -> None:
    """With empty ``Mined`` the loss is to the bit the sum of the weighted terms, and the same with labels of zero.

    Args:
        spec: The settings.

    Raises:
        AssertionError: An empty ``Mined`` changes something.
    """
    detector = fresh(spec)
    pixels, targets = noise_for(detector, 2), two_targets()
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    loss = batch_loss(detector, outputs, targets, Phase(1, 1))
    encoded, empty = detector.encode(targets, outputs), [Mined()] * spec.mined_levels()
    terms = detector.losses(outputs, encoded, empty)
    plain = torch.stack([detector.loss_weights[name] * term.mean() for name, term in terms.items()]).sum()
    require(
        torch.equal(loss.total(), plain),
        f"the loss without miners is {float(loss.total().detach()):g}, but encode, losses and loss_weights give "
        f"{float(plain.detach()):g}; the same call must give the same loss",
    )
    require(not loss.mining.masks(), "something is mined without miners")
    zeros = [Mined(torch.zeros_like(level.heatmap)) for level in detector.levels(outputs, encoded)]
    for name, term in detector.losses(outputs, encoded, zeros).items():
        require(
            torch.equal(term.total, terms[name].total),
            f"loss {name!r} with empty Mined differs from that with pseudo labels of zero; an arm without DMiner must "
            "be the plain detector",
        )


def check_miners_see_the_annotated_instances(spec: DetectorSpec) -> None:
    """``levels`` has as many maps as the settings say, of one grid each, and 1 in the heatmap of each annotation.

    That 1 is at the position whose point of the image is nearest to the centre of the instance.

    Args:
        spec: The settings; nothing is asked of those without maps to mine.

    Raises:
        AssertionError: A miner would find no prototype, or maps that do not fit.
    """
    detector = fresh(spec)
    pixels, targets = noise_for(detector, 2), two_targets()
    outputs = detector(pixels, targets)
    levels = detector.levels(outputs, detector.encode(targets, outputs))
    require(
        len(levels) == spec.mined_levels(),
        f"levels has {len(levels)} maps, but mined_levels() of the settings says {spec.mined_levels()}",
    )
    for level in levels:
        batch, _, height, width = level.features.shape
        shape = (batch, CLASSES, height, width)
        require(
            level.scores.shape == shape and level.heatmap.shape == shape,
            f"scores and heatmap of a level must have the shape {shape} of its features' grid and the classes, got "
            f"{tuple(level.scores.shape)} and {tuple(level.heatmap.shape)}",
        )
        require(
            bool(((level.scores >= 0) & (level.scores <= 1)).all()),
            "scores of levels must be within [0, 1]: after the sigmoid, as PGCL compares classes by them",
        )
        for image, one in enumerate(targets):
            _require_peaks_where_positions_look(level, image, one)
    for image, one in enumerate(targets if levels else ()):
        for label in one.labels.tolist():
            peak = max(float(level.heatmap[image, label].max()) for level in levels)
            require(
                peak == 1.0,
                f"the heatmap of an annotated class has its peak at {peak:g}, not at 1, which is how miners know "
                "annotated centres; draw it with siod.ops.heatmap.draw_heatmap",
            )


def _require_peaks_where_positions_look(level: DenseLevel, image: int, known: Target) -> None:
    stride, first = level.grid
    for box, label in zip(known.boxes_xyxy, known.labels.tolist(), strict=True):
        centre = (box[:2] + box[2:]) / 2
        for y, x in (level.heatmap[image, label] == 1).nonzero().tolist():
            point = torch.tensor([x, y]) * stride + first
            require(
                bool(((point - centre).abs() <= stride / 2).all()),
                f"an instance with its centre at {tuple(centre.tolist())} px has its peak at position ({x}, {y}), "
                f"which looks at {tuple(point.tolist())} px by the grid of its level; draw boxes with "
                "level.grid.place(boxes_xyxy), and let first_px say where position 0 lies",
            )


def check_pseudo_labels_lower_a_loss(spec: DetectorSpec) -> None:
    """Pseudo labels change at least one loss, and none of those they change grows (Eq. 5).

    Args:
        spec: The settings; nothing is asked of those without maps to mine.

    Raises:
        AssertionError: Pseudo labels are left unread, or are counted as something else.
    """
    if not spec.mined_levels():
        return
    without, with_labels = losses_without_and_with_labels(spec)
    changed = {name for name, part in without.items() if not torch.equal(part, with_labels[name])}
    require(bool(changed), "pseudo labels change no loss; losses must put Mined.pseudo into the class loss (Eq. 5)")
    for name in sorted(changed):
        require(
            bool(with_labels[name] < without[name]),
            f"loss {name!r} grows with pseudo labels; Eq. 5 takes them out of the negatives, so it must fall",
        )


def check_gradients_of_mining(spec: DetectorSpec) -> None:
    """PGCL's gradient reaches the backbone; pseudo labels are fixed numbers.

    Args:
        spec: The settings; nothing is asked of those without maps to mine.

    Raises:
        AssertionError: PGCL has nothing to teach, or the pseudo labels are learnt from as if they were outputs.
    """
    if not spec.mined_levels():
        return
    detector = fresh(spec)
    pixels, targets = noise_for(detector, 2), two_targets()
    torch.manual_seed(3)
    outputs = detector(pixels, targets)
    loss = batch_loss(detector, outputs, targets, miners(spec))
    weights = [weight for weight in detector.backbone.parameters() if weight.requires_grad]
    detached = "the gradient of PGCL does not reach the backbone; features of levels must not be detached"
    require(loss.parts["pgcl"].requires_grad, detached)
    reached = torch.autograd.grad(loss.parts["pgcl"], weights, retain_graph=True, allow_unused=True)
    require(any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in reached), detached)
    found = [level.pseudo for level in loss.mining.mined]
    require(any(one is not None and bool(one.max() > 0) for one in found), "SPLG finds no pseudo label on any level")
    require(not any(one is not None and one.requires_grad for one in found), "pseudo labels carry a gradient")
    rest = torch.stack([part for name, part in loss.parts.items() if name != "pgcl"]).sum()
    mined = torch.autograd.grad(rest, weights, retain_graph=True)
    fixed = [Mined(torch.tensor(one.numpy())) for one in found if one is not None]
    terms = detector.losses(outputs, detector.encode(targets, outputs), fixed)
    total = torch.stack([detector.loss_weights[name] * term.mean() for name, term in terms.items()]).sum()
    expected = torch.autograd.grad(total, weights)
    # Sums of many terms are rounded in another order: small entries beside large ones are off by more than their own.
    same = all(
        float((mine - other).abs().max()) <= 1e-4 * float(other.abs().max()) + 1e-6
        for mine, other in zip(mined, expected, strict=True)
    )
    require(same, "the gradient passes through the pseudo labels; they must be fixed numbers in the loss")


def check_mining_leaves_detections_alone(plain: DetectorSpec, mining: DetectorSpec) -> None:
    """The plain detector takes its parameters from the one that was mined on, and finds the same.

    Args:
        plain: The settings without DMiner.
        mining: Those with what DMiner needs in training; the same where it needs nothing.

    Raises:
        AssertionError: What DMiner needs in training has an influence on what is found afterwards.
    """
    detector, mined = fresh(plain).eval(), eager(mining).eval()
    state = mined.state_dict()
    missing = sorted(detector.state_dict().keys() - state.keys())
    require(not missing, f"the detector for DMiner lacks {', '.join(missing)} of the plain one")
    detector.load_state_dict({name: value for name, value in state.items() if name in detector.state_dict()})
    with torch.no_grad():
        pairs = zip(*(each.decode(each(noise_for(detector, 2))) for each in (detector, mined)), strict=True)
    same = all(equal(one, other) for one, other in pairs)
    require(same, "the detector that was mined on finds something else than the plain one with its weights")
