"""What of a user's files can be used: sound annotations, images that decode, and small copies of these.

Everything is made or looked at once, and remembered by the content of annotation files and the state of image folders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from siod.data import coco
from siod.data.annotation_sets import without_images
from siod.data.cached import creation_lock
from siod.data.checking.check import examine
from siod.data.derived import SplitFile
from siod.data.images import broken_images, refuse_broken
from siod.data.resized import kept_copy, name_record, resized
from siod.errors import UserError
from siod.value import digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siod.data.known_files import KnownFiles

Check = Literal["refuse", "skip", "off"]


@dataclass(frozen=True)
class UsableFiles:
    """Looks at the annotation files and images of a source.

    Args:
        known: Knows the files.
        cache_dir: What is made is kept below it.
        check_images: As for :func:`siod.data.source.prepare`.
        progress: Called with the number of images done and of all, while checking or shrinking.
    """

    known: KnownFiles
    cache_dir: Path
    check_images: Check = "refuse"
    progress: Callable[[int, int], None] | None = None

    def split(self, named: Path, images: Path, *, repair: bool) -> SplitFile:
        """The annotation file of a split, or its repaired copy, and which of its images cannot be used.

        Args:
            named: The annotation file, as the user named it.
            images: Folder of its images.
            repair: Whether a repaired copy stands for a file with defects.

        Raises:
            UserError: The file is beyond repair, or images are broken that are not to be skipped.
        """
        sound = self._repaired(named) if repair else named
        return SplitFile(named, sound, self._broken(sound, images))

    def small_copies(self, file: SplitFile, images: Path, longest_px: int) -> Path:
        """Folder of the small copies of a split's images, without those that cannot be used.

        Args:
            file: The split.
            images: Folder of its images.
            longest_px: Longest side of a copy.
        """
        annotations = self._cleaned(file)
        # Which copy it is takes reading the annotations; of unchanged files it is the same as before.
        record = name_record(self.cache_dir, self.known.sha256(annotations), self.known.state_of(images), longest_px)
        copy = kept_copy(record, self.cache_dir)
        if copy is None:
            copy = resized(annotations, images, longest_px, self.cache_dir, progress=self.progress)
            coco.write(record, {"copy": copy.images.parent.name})
        return copy.images

    def _repaired(self, path: Path) -> Path:
        copy = self.cache_dir / "repaired" / f"{self.known.sha256(path)}.json"
        if not copy.exists() and self.known.is_sound(path):
            return path
        with creation_lock(copy) as missing:
            if missing:
                examination = examine(path)
                refusal = examination.refusal()
                if examination.repaired is None or refusal is not None:
                    defect = examination.defects[0]
                    raise UserError(f"{path}: {defect.meaning} ({defect.examples[0]}): {refusal}")
                note = {"source_sha256": self.known.sha256(path), "changes": examination.changes}
                info = examination.repaired.get("info")
                coco.write(copy, {**examination.repaired, "info": {"source_info": info, "repaired": note}})
        return copy

    def _broken(self, annotations: Path, folder: Path) -> tuple[int, ...]:
        """Ids of images that cannot be used; remembered by the annotation file and the state of the folder."""
        if self.check_images == "off":
            return ()
        sha256, state = self.known.sha256(annotations), self.known.state_of(folder)
        key = digest({"annotations": sha256, "folder": str(folder), "files": state})
        record = self.cache_dir / "checked" / f"{key}.json"
        with creation_lock(record) as missing:
            if missing:
                images = self.known.dataset(annotations).images
                found = broken_images(images, folder, progress=self.progress)
                outcome = {"total": len(images), "broken": [[images[i].id, why] for i, why in found.items()]}
                coco.write(record, outcome)
        outcome = json.loads(record.read_text())
        if self.check_images == "refuse":
            refuse_broken(dict(outcome["broken"]), folder, outcome["total"])
        return tuple(image_id for image_id, _ in outcome["broken"])

    def _cleaned(self, file: SplitFile) -> Path:
        """The annotation file, or a copy without its broken images when there are any."""
        if not file.broken:
            return file.sound
        key = digest({"source": self.known.sha256(file.sound), "broken": file.broken})
        copy = self.cache_dir / "cleaned" / f"{key}.json"
        with creation_lock(copy) as missing:
            if missing:
                coco.write(copy, without_images(self.known.dataset(file.sound), list(file.broken)))
        return copy
