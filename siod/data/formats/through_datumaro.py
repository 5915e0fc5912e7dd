"""Formats that siod does not read itself, through datumaro, an optional package: what it makes of them is COCO.

Nothing is converted here. What datumaro leaves behind on the way is said.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siod.data.formats.recognise import recognise
from siod.errors import UserError, closest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siod.data.formats.layouts import Layout

PREFIX = "datumaro:"
OWN = {
    "coco": "coco",
    "coco_instances": "coco",
    "roboflow_coco": "coco",
    "voc": "voc",
    "voc_detection": "voc",
    "roboflow_voc": "voc",
    "yolo": "yolo",
    "roboflow_yolo": "yolo",
}
"""Formats that siod reads itself, and loses less of, by datumaro's names."""
KEPT = {"bbox", "mask", "polygon"}
"""Annotations that become objects with a box."""
LOST = "crowds without a mask became ordinary objects, areas were counted anew, what COCO has no field for was left out"


def read_by_datumaro(source: Path, name: str, folder: Path) -> Layout:
    """Have datumaro read a source and write it as COCO, and recognise that.

    Args:
        source: A folder or file.
        name: Of the format, as datumaro calls it.
        folder: Empty; annotations and copies of the images are written there.

    Returns:
        What it turned out to be; each part knows the user's files of its images.

    Raises:
        UserError: datumaro is not installed, does not know the format or cannot read the source; or siod reads it.
    """
    if name in OWN:
        raise UserError(f"--format {PREFIX}{name}: siod reads it itself; say --format {OWN[name]}")
    if not source.exists():
        raise UserError(f"{source}: does not exist; name a folder of annotated images, or a file")
    dataset, version = _imported(source, name)
    kinds = Counter(annotation.type.name for item in dataset for annotation in item.annotations)
    dropped = {kind: count for kind, count in sorted(kinds.items()) if kind not in KEPT}
    with _quiet(), _explained(source, name, version):
        dataset.export(str(folder / "written"), "coco_instances", save_media=True)
    files = {(item.subset, item.id): Path(path) for item in dataset if (path := getattr(item.media, "path", None))}
    layout = recognise(folder / "written", "coco")
    remarks = [f"{count} annotations of kind {kind} have no box and were left out" for kind, count in dropped.items()]
    parts = tuple(replace(part, files=_below(part.images, files)) for part in layout.parts)
    remarks = [f"datumaro {version} read it: {LOST}", *remarks, *layout.remarks]
    return replace(layout, source=source, parts=parts, remarks=tuple(remarks), through=f"{PREFIX}{name}")


def _imported(source: Path, name: str) -> tuple[Any, str]:
    """The data set, and the version of datumaro that read it."""
    try:
        import datumaro  # noqa: PLC0415  (optional)
        from datumaro.components.environment import Environment  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"--format {PREFIX}{name}: {error}; pip install 'siod[datumaro]'") from error
    version = str(datumaro.__version__)
    known = set(Environment().importers)
    if name not in known:
        raise UserError(f"--format {PREFIX}{name}: datumaro {version} has no such format{closest(name, known)}")
    with _quiet(), _explained(source, name, version):
        dataset = datumaro.Dataset.import_from(str(source), name)
        dataset.init_cache()
    return dataset, version


def _below(images: Path, files: dict[tuple[str, str], Path]) -> dict[str, Path]:
    """The user's files by the names of their copies in a folder, which datumaro calls by subset and id."""
    names = {path: path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()}
    found = {}
    for name in names.values():
        original = files.get((images.name, Path(name).with_suffix("").as_posix()))
        if original is not None:
            found[name] = original
    return found


@contextmanager
def _explained(source: Path, name: str, version: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{source}: datumaro {version} cannot read it as {name} ({reason})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Datumaro warns of every field it misses, item by item."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
