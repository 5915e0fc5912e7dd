#!/usr/bin/env bash
# Pillow 13.0.0
#
# Behaviour: a TIFF file with an EXIF orientation is turned by Pillow itself when its pixels are loaded, and its `size` is
# the turned one before that. JPEG, PNG and WebP files with the same orientation come as they are stored.
# Why one would guess otherwise: Pillow has ImageOps.exif_transpose for those who want it, and its documentation of
# Image.open promises no turning; code that takes annotations in the stored frame is right for three formats and wrong,
# without an error, for the fourth. After loading the tag is gone, so a later exif_transpose does not turn twice.
#
# Output seen (64 x 48 stored, orientation 6):
#   jpeg opened 64 x 48, loaded 64 x 48, orientation left 6
#   png  opened 64 x 48, loaded 64 x 48, orientation left 6
#   webp opened 64 x 48, loaded 64 x 48, orientation left 6
#   tiff opened 48 x 64, loaded 48 x 64, orientation left None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pillow==13.0.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
from PIL import Image

ORIENTATION = 0x0112
seen = {}
for kind in ("jpeg", "png", "webp", "tiff"):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.new("RGB", (64, 48)).save(f"photo.{kind}", exif=exif)
    with Image.open(f"photo.{kind}") as photo:
        opened = photo.size
        photo.load()
        seen[kind] = (opened, photo.size, photo.getexif().get(ORIENTATION))
    size = " x ".join(map(str, opened))
    print(f"{kind:<4} opened {size}, loaded {' x '.join(map(str, seen[kind][1]))}, orientation left {seen[kind][2]}")
stored = ((64, 48), (64, 48), 6)
assert seen == {"jpeg": stored, "png": stored, "webp": stored, "tiff": ((48, 64), (48, 64), None)}, seen
PY
