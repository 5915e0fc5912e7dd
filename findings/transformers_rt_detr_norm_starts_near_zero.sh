#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1
#
# Behaviour: a new RT-DETR, version 1 or 2, begins with factors of batch normalisation drawn around 0 with a deviation of
# 0.01, where torch and the official code begin with 1: what a layer of its encoder passes on is about a hundredth in
# size. D-FINE, whose code was derived from it, begins with 1.
# Why one would guess otherwise: torch's own layer, the library's general rule for such layers (ones), and the published
# code agree on 1, and only detectors that are not loaded from a checkpoint meet it.
#
# Output seen:
#   rt_detr: 42 layers, mean factor -0.00, deviation 0.010
#   rt_detr_v2: 42 layers, mean factor -0.00, deviation 0.010
#   d_fine: 89 layers, mean factor 1.00, deviation 0.000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 scipy==1.17.1 pillow==13.0.0 2> /dev/null
"$work/venv/bin/python" - <<'PY'
import torch
from transformers import AutoConfig, AutoModelForObjectDetection

BACKBONE = {
    "model_type": "rt_detr_resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 32, 64],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_indices": [2, 3, 4],
}
SMALL = {"d_model": 32, "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32], "decoder_layers": 2}
for kind in ("rt_detr", "rt_detr_v2", "d_fine"):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, backbone_config=BACKBONE, encoder_in_channels=[16, 32, 64], **SMALL)
    model = AutoModelForObjectDetection.from_config(config)
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    factors = torch.cat([layer.weight.detach() for layer in norms])
    print(f"{kind}: {len(norms)} layers, mean factor {factors.mean():.2f}, deviation {factors.std():.3f}")
    if kind == "d_fine":
        assert bool((factors == 1).all())
    else:
        assert abs(float(factors.mean())) < 0.001 and abs(float(factors.std()) - 0.01) < 0.001
PY
