"""Labels of detections: which ones are sure enough, as the settings say, and what is known of how many are false.

B images, K detections of an image, C categories.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from siod.methods.steps.decoys import Decoys, bins_of, count_finds, false_discovery_rates, open_categories
from siod.methods.steps.pseudo import choose_boxes, on_annotated
from siod.state import State
from siod.types import LossTerm, stacked_states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siod.detectors.detector import Detector
    from siod.methods.method import Moment
    from siod.methods.pseudo import PseudoBoxes
    from siod.types import PaddedDetections, Target


class Chosen(NamedTuple):
    """Detections that are sure enough to be labels, and figures of them (``mining/<name>``)."""

    boxes: PaddedDetections
    figures: Mapping[str, LossTerm]


class Labeller:
    """Chooses the detections that become labels; remembers what was found, where thresholds are estimated of it.

    Args:
        pseudo: Which detections those are.
        detector: Whose detections they are, on its device.
    """

    def __init__(self, pseudo: PseudoBoxes, detector: Detector) -> None:
        self.pseudo, self.num_classes = pseudo, detector.num_classes
        self.decoys: Decoys | None = None
        if pseudo.max_fdr is not None:
            device = next(detector.parameters()).device
            self.decoys = Decoys(detector.num_classes, pseudo.half_life_images, device)

    @torch.no_grad()
    def choose(
        self, found: PaddedDetections, targets: Sequence[Target], image_size: tuple[int, int], moment: Moment
    ) -> Chosen:
        """Choose among the detections of some images.

        Args:
            found: In pixels of the input.
            targets: Of these images; targets without states have all their instances annotated.
            image_size: Height and width of the input.
            moment: Where the run is. Where thresholds are estimated, all workers call this equally often.

        Returns:
            The chosen detections, best first. Where thresholds are estimated, ``pseudo_fdr_estimated`` is the share of
            them that is estimated to be false; those on annotated boxes are not counted.
        """
        boxes = choose_boxes(self.pseudo, found, image_size)
        if not self.pseudo.clean:
            return Chosen(boxes, {})
        states = stacked_states(targets)
        if states is None:
            shape = (len(targets), self.num_classes)
            states = torch.full(shape, State.COMPLETE, dtype=torch.int8, device=boxes.labels.device)
        may_be_true = boxes.valid & open_categories(states).gather(1, boxes.labels)
        max_fdr = self.pseudo.max_fdr
        if self.decoys is None or max_fdr is None:
            return Chosen(replace(boxes, valid=may_be_true), {})
        annotated = on_annotated(self.pseudo, targets, boxes)
        self.decoys.add(count_finds(boxes, annotated, states), moment.workers)
        rates = false_discovery_rates(self.decoys.finds)
        chosen = may_be_true & (rates[boxes.labels, bins_of(boxes.scores)] <= max_fdr)
        # Of each category the rate of all that it lets in.
        let_in = rates.masked_fill(rates > max_fdr, 0).amax(dim=1)
        new = chosen & ~annotated
        estimated = LossTerm((let_in[boxes.labels] * new).sum(), new.sum().float())
        return Chosen(replace(boxes, valid=chosen), {"pseudo_fdr_estimated": estimated})

    def state_dict(self, name: str = "labeller") -> dict[str, Any]:
        """What was found, under a name, for a resumed run; nothing where thresholds are given."""
        return {} if self.decoys is None else {name: self.decoys.state_dict()}

    def load_state_dict(self, state: dict[str, Any], name: str = "labeller") -> None:
        """Go on from what was found, as ``state_dict`` has it among other entries."""
        if self.decoys is not None:
            self.decoys.load_state_dict(state[name])
