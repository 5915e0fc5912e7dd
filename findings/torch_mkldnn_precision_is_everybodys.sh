#!/usr/bin/env bash
# torch 2.13.0 (seen with 2.14.1 too)
#
# Behaviour: setting `torch.backends.mkldnn.fp32_precision`, which by its place is oneDNN's, sets the precision of all
# backends: `torch.backends.fp32_precision` takes the value, and the TF32 that cuDNN's recurrent networks have by default
# turns to "none".
# Why one would guess otherwise: `torch.backends.cuda.matmul.fp32_precision` and `torch.backends.cudnn.fp32_precision` beside
# it are one backend's each, and setting the CPU's precision is not expected to change what a GPU computes in.
#
# Output seen (all backends, mkldnn, cudnn.rnn):
#   before: none, none, tf32
#   after:  bf16, bf16, none
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import torch


def told() -> tuple[str, str, str]:
    backends = torch.backends
    return backends.fp32_precision, backends.mkldnn.fp32_precision, backends.cudnn.rnn.fp32_precision


before = told()
torch.backends.mkldnn.fp32_precision = "bf16"
after = told()
print(f"before: {', '.join(before)}\nafter:  {', '.join(after)}")
assert before == ("none", "none", "tf32"), before
assert after == ("bf16", "bf16", "none"), after
PY
