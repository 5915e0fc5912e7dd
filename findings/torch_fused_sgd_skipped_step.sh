#!/usr/bin/env bash
# torch 2.13.0 (seen with 2.14.1 too)
#
# Behaviour: when GradScaler skips the very first step of a fused SGD with momentum because a gradient overflowed, the
# optimiser has by then put momentum buffers into its state that nobody wrote to. The next step multiplies whatever was in that
# memory by the momentum and adds it to the weights. The optimiser that is not fused makes its buffers when it steps and
# has no such state.
# Why one would guess otherwise: a skipped step is documented to leave the parameters alone, and it does; `fused=True` is
# documented as the same arithmetic, faster. An overflow in the first step is the usual case with the scaler's own initial
# scale, and the memory is often zero by luck.
#
# Output seen: runs of 10 whose weights are no numbers after three steps, the first of them skipped, when memory that held
# NaN was freed before
#   fused:     4 of 10 (8 of 10 in another call: it depends on what the memory held)
#   not fused: 0 of 10
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import torch


def ruined(*, fused: bool) -> int:
    count = 0
    for seed in range(10):
        torch.manual_seed(seed)
        model = torch.nn.Linear(512, 512)
        used = [torch.full((512, 512), float("nan")) for _ in range(8)] + [torch.full((512,), float("nan"))] * 8
        del used
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
        for step in range(3):
            optimiser.zero_grad()
            overflow = float("inf") if step == 0 else 1.0
            loss = model(torch.ones(4, 512)).square().mean() * overflow
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
        count += not all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
    return count


fused, plain = ruined(fused=True), ruined(fused=False)
print(f"fused:     {fused} of 10\nnot fused: {plain} of 10")
assert fused > 0, "memory that was never written to is no longer used"
assert plain == 0
PY
