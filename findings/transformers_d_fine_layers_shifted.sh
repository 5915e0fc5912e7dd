#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1
#
# Behaviour: D-FINE's decoder gives class scores and boxes of n + 1 stages, a first guess and n layers, and distributions
# of distances of n layers. The loss pairs the two lists from their beginnings: the distances of layer 1 are weighed by
# the overlaps of the guess, those of layer 2 by the overlaps of layer 1. The list of stages is cut to the shorter one, so
# the layer before the last has no loss of its scores and boxes, and the last one, which detections are read from, none of
# its distances (for the noisy copies of boxes it is the last layer that has no loss of its scores and boxes).
# Why one would guess otherwise: the guess has no distances in the published code either, which therefore keeps it apart
# from the layers, compares every layer with the targets, and trains the distances of the last one.
#
# Output seen, of 3 layers (stages 0, the guess, to 3) and the detector's own queries:
#   loss_vfl and loss_bbox read scores and boxes of stages [0, 1, 3] [0, 1, 3]
#   loss_fgl reads distances of layers [1, 2]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 scipy==1.17.1 pillow==13.0.0 2> /dev/null
"$work/venv/bin/python" - <<'PY'
import torch
from transformers import DFineConfig
from transformers.loss.loss_d_fine import DFineForObjectDetectionLoss

LAYERS, QUERIES, BINS = 3, 6, 32
torch.manual_seed(0)
config = DFineConfig(decoder_layers=LAYERS, num_queries=QUERIES, num_labels=2, max_num_bins=BINS)
scores = torch.randn(1, LAYERS + 1, QUERIES, 2, requires_grad=True)
boxes = torch.rand(1, LAYERS + 1, QUERIES, 4) * 0.2 + 0.4
boxes.requires_grad_()
distances = torch.randn(1, LAYERS, QUERIES, 4 * (BINS + 1), requires_grad=True)
references = torch.rand(1, LAYERS, QUERIES, 4) * 0.2 + 0.4
start = torch.randn(1, QUERIES, 2), torch.rand(1, QUERIES, 4) * 0.2 + 0.4
labels = [{"class_labels": torch.tensor([0, 1]), "boxes": torch.tensor([[0.4, 0.5, 0.3, 0.2], [0.6, 0.5, 0.2, 0.3]])}]
_, losses, _ = DFineForObjectDetectionLoss(
    scores[:, -1], labels, "cpu", boxes[:, -1], config, scores, boxes, *start,
    predicted_corners=distances, initial_reference_points=references,
)


def read(name, tensor):
    total = sum(value for key, value in losses.items() if key.startswith(name))
    (gradient,) = torch.autograd.grad(total, tensor, retain_graph=True)
    return [index for index in range(tensor.shape[1]) if bool(gradient[0, index].any())]


of_scores, of_boxes, of_distances = read("loss_vfl", scores), read("loss_bbox", boxes), read("loss_fgl", distances)
print("loss_vfl and loss_bbox read scores and boxes of stages", of_scores, of_boxes)
print("loss_fgl reads distances of layers", [index + 1 for index in of_distances])
assert of_scores == of_boxes == [0, 1, 3]
assert of_distances == [0, 1]
PY
