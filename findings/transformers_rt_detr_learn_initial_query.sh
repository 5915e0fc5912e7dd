#!/usr/bin/env bash
# transformers 5.24.0, torch 2.14.1
#
# Behaviour: with learn_initial_query a model of RT-DETR, RT-DETR v2 or D-FINE is built, saved and loaded, and fails at
# its first image, in training and in inference. The forward calls tile on the embedding module, which has none, where
# the module's weight was meant.
# Why one would guess otherwise: it is a documented setting of all three configurations, of a published model's code,
# and the library creates, initialises and stores the layer for it.
#
# Output seen:
#   RTDetr: with False 3 queries, with True AttributeError: 'Embedding' object has no attribute 'tile'
#   RTDetrV2: with False 3 queries, with True AttributeError: 'Embedding' object has no attribute 'tile'
#   DFine: with False 3 queries, with True AttributeError: 'Embedding' object has no attribute 'tile'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 transformers==5.24.0 scipy==1.17.1 pillow==13.0.0 2> /dev/null
"$work/venv/bin/python" - <<'PY'
import torch
import transformers
from transformers import RTDetrResNetConfig

backbone = RTDetrResNetConfig(
    embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], layer_type="basic",
    out_features=["stage2", "stage3", "stage4"],
)
small = {
    "backbone_config": backbone, "encoder_in_channels": [16, 32, 64], "encoder_hidden_dim": 32, "d_model": 32,
    "num_queries": 3, "decoder_layers": 2, "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32,
    "encoder_ffn_dim": 32, "num_labels": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
}
for name in ("RTDetr", "RTDetrV2", "DFine"):
    said = []
    for learnt in (False, True):
        config = getattr(transformers, f"{name}Config")(**small, learn_initial_query=learnt)
        model = getattr(transformers, f"{name}ForObjectDetection")(config).eval()
        assert (model.model.weight_embedding is not None) if learnt else not hasattr(model.model, "weight_embedding")
        try:
            with torch.no_grad():
                found = f"{model(torch.rand(1, 3, 64, 64)).logits.shape[1]} queries"
        except AttributeError as error:
            found = f"AttributeError: {error}"
        said.append(found)
    print(f"{name}: with False {said[0]}, with True {said[1]}")
    assert said == ["3 queries", "AttributeError: 'Embedding' object has no attribute 'tile'"]
PY
