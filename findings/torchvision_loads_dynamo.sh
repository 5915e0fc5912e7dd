#!/usr/bin/env bash
# torch 2.14.1 and torchvision 0.29.1
#
# Behaviour: importing torchvision, or any part of it, loads torch's compiler front end (torch._dynamo), whether
# anything is compiled or not.
# Why one would guess otherwise: torch itself leaves it out until torch.compile is called, and resizing an image or reading
# the number of a detector's classes compiles nothing. What asks for it is a decorator of one operation (roi_align), which
# the package's own __init__ imports. A process that only wants to resize loads over a thousand modules for it.
#
# Output seen:
#   import torch:                               torch._dynamo loaded: False
#   import torchvision.transforms.v2.functional: torch._dynamo loaded: True, 1110 modules more
#     of them 95 of torch._dynamo
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$work/venv/bin/python" - <<'PY'
import sys

import torch  # noqa: F401

before = set(sys.modules)
first = "torch._dynamo" in before
print(f"import torch:                               torch._dynamo loaded: {first}")
import torchvision.transforms.v2.functional  # noqa: E402, F401

second = "torch._dynamo" in sys.modules
more = sum(name.startswith("torch._dynamo") for name in set(sys.modules) - before)
everything = len(set(sys.modules) - before)
print(f"import torchvision.transforms.v2.functional: torch._dynamo loaded: {second}, {everything} modules more")
print(f"  of them {more} of torch._dynamo")
assert (first, second) == (False, True)
assert everything > 500 and more > 30
assert hasattr(torchvision.ops, "roi_align")
PY
