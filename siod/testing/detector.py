"""What training and DMiner rely on, asked of a family of detectors with one setting.

Every check takes the settings alone, builds a detector of them with random weights, and looks at it on the CPU;
:func:`check_detector` makes them all. Settings should be of a small variant: seconds are meant for a network that
learns scenes of about 100 px.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from siod.detectors.detector import Detector
from siod.detectors.zoo import FAMILIES, build
from siod.ops.padding import padded
from siod.testing.detector_losses import (
    check_a_batch_has_the_losses_of_its_images,
    check_half_precision,
    check_hidden_instances_are_not_read,
    check_losses_reach_every_parameter,
    check_unlabelled_classes_teach_no_negatives,
    check_views_can_be_told_apart,
)
from siod.testing.detector_mining import (
    check_gradients_of_mining,
    check_miners_see_the_annotated_instances,
    check_pseudo_labels_lower_a_loss,
    check_without_miners_the_loss_is_plain,
)
from siod.testing.networks import BY_HEART, CLASSES, alike, eager, equal, fresh, learnt_by_heart, noise_for, side_of
from siod.testing.requirement import require
from siod.testing.scenes import noise
from siod.training.experiment import Experiment
from siod.training.presets import digits_centernet
from siod.types import Detections

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from siod.detectors.detector import DetectorSpec
    from siod.types import PaddedDetections

IMAGES = 2


def check_detector(spec: DetectorSpec) -> None:
    """Make every check of ``DETECTOR_CHECKS``.

    Args:
        spec: Settings of a small variant, of a family that ``add_family`` was called for. A family with other
            settings for DMiner is checked with both, and by ``check_mining_leaves_detections_alone``.

    Raises:
        AssertionError: Something that training relies on does not hold; says what and who relies on it.
    """
    for check in DETECTOR_CHECKS:
        check(spec)


def check_settings_name_the_family(spec: DetectorSpec) -> None:
    """An experiment with the settings is written, read again and built; another setting is another experiment.

    Args:
        spec: The settings.

    Raises:
        AssertionError: They are of no known family, do not come back from JSON, or build no whole detector.
    """
    known = FAMILIES.get(spec.family)
    require(
        known is not None and known.spec is type(spec),
        f"family {spec.family!r} is not that of {type(spec).__name__} for experiments; call add_family of "
        "siod.detectors.zoo with the settings and the detector",
    )
    experiment = digits_centernet().with_changes({"detector": spec})
    again = Experiment.model_validate_json(experiment.model_dump_json())
    require(again == experiment, "the settings change when an experiment is written and read, so no run could resume")
    detector = fresh(spec)
    require(
        isinstance(detector, Detector), f"{type(detector).__name__} must derive from siod.detectors.detector.Detector"
    )
    require(
        detector.num_classes == CLASSES,
        f"num_classes is {detector.num_classes} for a detector made for {CLASSES} classes; checkpoints are told by it",
    )


def check_other_sizes_are_refused(spec: DetectorSpec) -> None:
    """Images whose height or width is no multiple of ``size_divisor`` are refused with the number.

    Args:
        spec: The settings.

    Raises:
        AssertionError: Such images pass, or the refusal does not name the multiple and the size.
    """
    detector = fresh(spec)
    if detector.size_divisor == 1:
        return
    height, width = side_of(detector), side_of(detector) + detector.size_divisor // 2
    sentence = f"multiples of {detector.size_divisor}, got {height}x{width}"
    try:
        detector(noise(1, height, width))
    except ValueError as refused:
        require(sentence in str(refused), f"the refusal of odd sizes must say {sentence!r}, but says {str(refused)!r}")
    else:
        raise AssertionError(f"images of {height}x{width} px are not refused; let forward begin with size_of(images)")


def check_detections_are_well_formed(spec: DetectorSpec) -> None:
    """Detections are one record an image, best first, with scores in [0, 1], known labels and finite boxes.

    Args:
        spec: The settings.

    Raises:
        AssertionError: They are not, or ``decode_padded`` says something else than ``decode``.
    """
    found, table = _both_decoded(spec)
    require(
        len(found) == IMAGES and all(isinstance(one, Detections) for one in found),
        f"decode must return one Detections for each of {IMAGES} images, got {len(found)}",
    )
    for one in found:
        scores, labels, boxes = one.scores, one.labels, one.boxes_xyxy
        require(bool((scores.diff() <= 0).all()), "detections must come best first; the evaluator takes the best 100")
        require(
            bool(((scores >= 0) & (scores <= 1)).all()),
            "scores must be within [0, 1]; AP@S compares them with 0.0 to 0.9",
        )
        require(
            labels.dtype == torch.long and bool(((labels >= 0) & (labels < CLASSES)).all()),
            f"labels must be integers from 0 to {CLASSES - 1} for {CLASSES} classes, as the targets' are",
        )
        require(
            boxes.shape == (len(scores), 4) and bool(boxes.isfinite().all()),
            f"boxes must be finite and of shape ({len(scores)}, 4), got {tuple(boxes.shape)}",
        )
    once = padded(found)
    same = (torch.equal(mine, other) for mine, other in zip(_taken(once), _taken(table), strict=True))
    require(all(same), "decode_padded must hold the detections of decode; teachers read theirs from it")


def check_a_batch_is_detected_as_its_images(spec: DetectorSpec) -> None:
    """Two images at once are detected as each alone.

    Args:
        spec: The settings.

    Raises:
        AssertionError: What is found in an image depends on its neighbours in the batch.
    """
    detector = eager(spec).eval()
    pixels = noise_for(detector, IMAGES)
    with torch.no_grad():
        whole = detector.decode(detector(pixels))
        apart = [detector.decode(detector(pixels[index : index + 1]))[0] for index in range(2)]
    for together, alone in zip(whole, apart, strict=True):
        require(
            alike(together, alone),
            "an image is detected otherwise in a batch of two than alone; a run would be judged by its batch size",
        )


def check_weights_tell_all(spec: DetectorSpec) -> None:
    """A new detector that takes the weights of another one finds the same, to the bit.

    Args:
        spec: The settings.

    Raises:
        AssertionError: Something that detections depend on is not in ``state_dict``, so a checkpoint would lose it.
    """
    detector = eager(spec).eval()
    torch.manual_seed(7)
    other = build(spec, num_classes=CLASSES).eval()
    other.load_state_dict(detector.state_dict())
    with torch.no_grad():
        pairs = zip(*(each.decode(each(noise_for(detector, IMAGES))) for each in (detector, other)), strict=True)
    require(
        all(equal(one, again) for one, again in pairs),
        "a detector that took the weights of another finds something else; what detections depend on must be in "
        "parameters or buffers, which is all that a checkpoint holds",
    )


def check_boxes_are_learnt_in_their_frame(spec: DetectorSpec) -> None:
    """It learns two scenes of digits by heart: AP50 of 0.9 within 120 steps, told on the scenes themselves.

    Args:
        spec: The settings.

    Raises:
        AssertionError: It does not; the encoding or the decoding is most likely in another frame.
    """
    reached = learnt_by_heart(spec, images=2, steps=120)
    require(
        reached >= BY_HEART,
        f"two scenes are learnt by heart to an AP50 of {reached:.2f} within 120 steps, not to {BY_HEART}; encode and "
        "decode must agree on boxes as x1, y1, x2, y2 in pixels of the input, and losses must teach them",
    )


DETECTOR_CHECKS: tuple[Callable[[DetectorSpec], None], ...] = (
    check_settings_name_the_family,
    check_losses_reach_every_parameter,
    check_other_sizes_are_refused,
    check_hidden_instances_are_not_read,
    check_detections_are_well_formed,
    check_a_batch_is_detected_as_its_images,
    check_a_batch_has_the_losses_of_its_images,
    check_unlabelled_classes_teach_no_negatives,
    check_without_miners_the_loss_is_plain,
    check_miners_see_the_annotated_instances,
    check_pseudo_labels_lower_a_loss,
    check_gradients_of_mining,
    check_half_precision,
    check_views_can_be_told_apart,
    check_weights_tell_all,
    check_boxes_are_learnt_in_their_frame,
)


def _both_decoded(spec: DetectorSpec) -> tuple[list[Detections], PaddedDetections]:
    detector = eager(spec).eval()
    with torch.no_grad():
        outputs = detector(noise_for(detector, IMAGES))
        return detector.decode(outputs), detector.decode_padded(outputs)


def _taken(table: PaddedDetections) -> tuple[Tensor, ...]:
    """The places that hold a detection, and what they hold."""
    return (table.valid.sum(dim=1), *(each[table.valid] for each in (table.boxes_xyxy, table.scores, table.labels)))
