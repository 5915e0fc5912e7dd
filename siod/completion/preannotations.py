"""Annotated and proposed boxes as pre-annotations of labelling tools: CVAT, Label Studio, YOLO and Pascal VOC.

Importing replaces what a tool has, so that each file holds both. CVAT, Label Studio and YOLO look at photos as they are
shown (EXIF), Pascal VOC as they are stored. ``README.txt`` beside the files says how each is imported, how proposals
are told from annotated boxes there, and what was left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from siod.completion.cvat import END, cvat_image, cvat_labels, cvat_start
from siod.completion.label_studio import label_studio_interface, label_studio_task
from siod.completion.shown import ShownImages
from siod.data.formats.convert import UnusableImageError
from siod.data.formats.export import (
    refuse_shared_stems,
    voc_object,
    write_text,
    write_voc_file,
    write_voc_list,
    write_yolo_description,
    write_yolo_file,
    yolo_line,
)
from siod.data.formats.layouts import split_of_file
from siod.errors import UserError
from siod.files import replacing

if TYPE_CHECKING:
    from siod.completion.proposals import Proposals
    from siod.completion.shown import ShownImage
    from siod.data.coco import ImageRecord

README = """\
The annotated boxes of {annotations} and {proposed} boxes that it may lack, for labelling tools.
Of a proposal, score is the detector's, and fdr the estimated share of false ones among the proposals of its category
with its score or a higher one; a proposal without fdr has no estimate.

CVAT
  Make a task of the images, under the names they have in {name}; paste cvat_labels.json into the Raw tab of
  its labels. Then choose Upload annotations, CVAT 1.1, cvat.xml. Proposals have the attribute proposed, and score and
  fdr; a filter shows them alone. Without these attributes in the task CVAT cannot tell proposals from other boxes.

Label Studio
  Start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}
  Make a project with the labelling interface label_studio.xml, add the source storage "Local files" with the path
  {images} without syncing it, and import label_studio.json. Regions with a score are proposals.

YOLO
  yolo/labels has all boxes; lay it beside the folder of the images, which YOLO tools want to be called images.
  yolo/proposed has the proposals alone, with the score as last number: label files cannot tell them.

Pascal VOC
  voc/Annotations has all boxes. Proposals have attributes proposed, score and fdr, which datumaro and CVAT read and
  others pass over.
"""


@dataclass
class _Written:
    """What was written and what was passed over.

    Attributes:
        images: Those that were written.
        crowds: Number of crowds in them.
        unusable: Why images were left out.
    """

    images: list[ImageRecord] = field(default_factory=list)
    crowds: int = 0
    unusable: list[str] = field(default_factory=list)


def write_preannotations(proposals: Proposals, folder: Path) -> tuple[Path, ...]:
    """Write what labelling tools import.

    Args:
        proposals: And the annotation file they belong to; its images are looked at for the frame they are shown in.
        folder: Where to write; files of these names are replaced.

    Returns:
        ``README.txt``, ``cvat.xml``, ``cvat_labels.json``, ``label_studio.json``, ``label_studio.xml``, and the folders
        ``yolo`` and ``voc``, unless images differ in their suffix alone. Images that cannot be opened are in none;
        crowds are in ``voc`` alone. ``README.txt`` counts what was left out.

    Raises:
        UserError: A file cannot be written.
    """
    shared_stems = _shared_stems(proposals)
    folders = () if shared_stems else (folder / "yolo", folder / "voc")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = _write_images(proposals, folder, with_folders=not shared_stems)
        write_text(folder / "README.txt", _readme(proposals, written, shared_stems))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error}); free space or name another folder") from error
    files = ("README.txt", "cvat.xml", "cvat_labels.json", "label_studio.json", "label_studio.xml")
    return (*(folder / name for name in files), *folders)


def _shared_stems(proposals: Proposals) -> str:
    """Why YOLO and Pascal VOC cannot be written; empty if they can."""
    try:
        refuse_shared_stems(proposals.annotated)
    except UserError as error:
        return str(error)
    return ""


def _write_images(proposals: Proposals, folder: Path, *, with_folders: bool) -> _Written:
    images, written = ShownImages(proposals), _Written()
    image_folder = Path(proposals.origin.images).name
    names = images.names
    (folder / "cvat_labels.json").write_bytes(msgspec.json.format(msgspec.json.encode(cvat_labels(names))))
    write_text(folder / "label_studio.xml", label_studio_interface(names))
    with (
        replacing(folder / "cvat.xml") as cvat_file,
        replacing(folder / "label_studio.json") as studio_file,
        cvat_file.open("w", encoding="utf-8") as cvat,
        studio_file.open("wb") as studio,
    ):
        cvat.write(cvat_start(names))
        for place in range(len(proposals.annotated.images)):
            try:
                image = images.image(place)
            except UnusableImageError as error:
                written.unusable.append(str(error))
                continue
            cvat.write(cvat_image(image))
            studio.write(b",\n" if written.images else b"[\n")
            studio.write(msgspec.json.encode(label_studio_task(image, image_folder)))
            if with_folders:
                _write_yolo(image, folder / "yolo")
                _write_voc(image, folder / "voc")
            written.images.append(image.record)
            written.crowds += sum(box.crowd for box in image.boxes)
        cvat.write(END)
        studio.write(b"\n]\n" if written.images else b"[]\n")
    if with_folders:
        write_yolo_description(folder / "yolo", proposals.annotated)
        split = split_of_file(proposals.annotated.path.name.split(".")[0]) or "train"
        write_voc_list(folder / "voc", split, written.images)
    return written


def _write_yolo(image: ShownImage, folder: Path) -> None:
    boxes = image.objects()
    write_yolo_file(folder / "labels", image.record, [yolo_line(box.label, box.corners, image.size) for box in boxes])
    proposed = [
        yolo_line(box.label, box.corners, image.size, box.proposal.score) for box in boxes if box.proposal is not None
    ]
    if proposed:
        write_yolo_file(folder / "proposed", image.record, proposed)


def _write_voc(image: ShownImage, folder: Path) -> None:
    objects = (
        voc_object(box.name, box.stored, image.record, difficult=box.crowd, attributes=box.attributes())
        for box in image.boxes
    )
    write_voc_file(folder, image.record, objects)


def _readme(proposals: Proposals, written: _Written, shared_stems: str) -> str:
    images = Path(proposals.origin.images)
    annotations = proposals.annotated.path
    text = README.format(
        annotations=annotations,
        name=annotations.name,
        proposed=len(proposals.boxes),
        images=images,
        root=images.parent,
    )
    left_out = []
    if written.crowds:
        left_out.append(f"{written.crowds} crowds, which only Pascal VOC can tell from objects (difficult)")
    if written.unusable:
        left_out.append(f"{len(written.unusable)} images that cannot be used, such as {written.unusable[0]}")
    if shared_stems:
        left_out.append(f"YOLO and Pascal VOC ({shared_stems})")
    return text + "".join(f"\nLeft out: {one}\n" for one in left_out)
