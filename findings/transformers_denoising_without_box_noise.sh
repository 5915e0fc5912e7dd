#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1
#
# Behaviour: noisy copies of boxes, by which RT-DETR and D-FINE are trained, are handed to the decoder as logits. With
# box_noise_scale 0 the step that makes logits of them is left out with the noise: fractions of the image are taken for
# logits, and a copy of a box centred at 0.1 and 0.9 with sides of 0.2 starts at 0.52 and 0.71 with sides of 0.55.
# Why one would guess otherwise: 0 is in the range of the setting, and turns off nothing but the noise of labels in
# label_noise_ratio, its neighbour.
#
# Output seen:
#   noise 1e-06: copies start at 0.10 0.90 0.20 0.20
#   noise 0: copies start at 0.52 0.71 0.55 0.55
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 scipy==1.17.1 pillow==13.0.0 2> /dev/null
"$work/venv/bin/python" - <<'PY'
import torch
from transformers.models.rt_detr.modeling_rt_detr import get_contrastive_denoising_training_group

box = [0.1, 0.9, 0.2, 0.2]
targets = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([box])}]
embed = torch.nn.Embedding(2, 4)
starts = {}
for noise in (1e-6, 0):
    made = get_contrastive_denoising_training_group(targets, 1, 5, embed, 2, label_noise_ratio=0, box_noise_scale=noise)
    starts[noise] = made[1][0, 0].sigmoid()  # what the decoder does with them first
    print(f"noise {noise}: copies start at", " ".join(f"{float(each):.2f}" for each in starts[noise]))
torch.testing.assert_close(starts[1e-6], torch.tensor(box), rtol=0, atol=1e-4)
assert (starts[0] - torch.tensor(box)).abs().max() > 0.3
PY
