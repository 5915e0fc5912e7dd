"""YOLO folders, recognised by ``data.yaml`` or by folders ``images`` and ``labels``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from siod.data.formats.layouts import (
    SPLITS,
    Layout,
    Part,
    Split,
    child,
    folders_in,
    has_file,
    has_image,
    split_of_folder,
)
from siod.errors import UserError

YAML = (".yaml", ".yml")
CLASS_FILES = ("classes.txt", "obj.names", "names.txt", "classes.names", "labels.txt")


def look_for_yolo(source: Path) -> Layout | None:
    """YOLO: what ``data.yaml`` names, or labels beside images.

    Args:
        source: A folder, or the YAML file itself.

    Raises:
        UserError: The YAML file names folders that do not exist, or nothing names the classes.
    """
    candidates = [source] if source.is_file() else sorted(path for path in source.iterdir() if path.is_file())
    for path in candidates:
        described = _described(path) if path.suffix.lower() in YAML else None
        if described is not None:
            return _as_described(source, path, described)
    return _by_folders(source) if source.is_dir() else None


def _described(path: Path) -> dict[str, Any] | None:
    """The content of a YAML file that describes a data set."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) and "names" in found and {*SPLITS} & found.keys() else None


def _as_described(source: Path, path: Path, described: dict[str, Any]) -> Layout:
    parts: list[Part] = []
    remarks = []
    bases = _bases(path.parent, described)
    for split in SPLITS:
        entries = described.get(split) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            found = _found(str(entry), bases)
            if found is not None:
                parts.append(_part(found, bases, split, path))
            elif split == "test":  # Roboflow names it whether it was exported or not
                remarks.append(f"{path}: {split}: {entry} is not there")
            else:
                raise UserError(f"{path}: {split}: {entry} leads to no file or folder; correct it")
    if not parts:
        raise UserError(f"{path}: names no images; give train and val a folder each")
    return Layout("yolo", source, _joined(parts), tuple(remarks))


def _bases(folder: Path, described: dict[str, Any]) -> list[Path]:
    """What paths in the file are relative to: its ``path``, then its own folder."""
    stated = described.get("path")
    return [folder / str(stated), folder] if stated else [folder]


def _found(entry: str, bases: list[Path]) -> Path | None:
    """Where an entry leads. Files that were moved, and Roboflow's ``../train``, mean the end of what they say."""
    parts = [part for part in PurePosixPath(entry.replace("\\", "/")).parts if part not in {"..", ".", "/"}]
    tails = [PurePosixPath(*parts[start:]) for start in range(len(parts))]
    choices = [base / tail for tail in [PurePosixPath(entry), *tails] for base in bases]
    return next((path for path in choices if path.exists()), None)


def _part(found: Path, bases: list[Path], split: Split, path: Path) -> Part:
    if found.is_file():
        return _listed(found, bases, split, path)
    images = child(found, ("images",)) if not has_image(found) else None
    images = images or found
    labels = _labels_of(images)
    if labels is None:
        raise UserError(f"{path}: {split}: {images} has no labels beside it; put them into a folder 'labels'")
    return Part(labels, images, split, names=path)


def _labels_of(images: Path) -> Path | None:
    """YOLO tools replace the last ``images`` of the path; label files may also lie among the images."""
    parts = list(images.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() == "images":
            labels = Path(*parts[:place], "labels", *parts[place + 1 :])
            if labels.is_dir():
                return labels
            break
    return images if has_file(images, (".txt",), deep=True) else None


def _listed(path: Path, bases: list[Path], split: Split, described: Path) -> Part:
    """Images that a text file lists, all of them below one folder ``images``."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); write the path of an image per line") from error
    members: dict[str, Split] = {}
    root: Path | None = None
    for name in names:
        image = _found(name, [*bases, path.parent])
        if image is None:
            raise UserError(f"{path}: {name} leads to no image; correct it")
        root = root or _root_of(image)
        if not image.is_relative_to(root):
            raise UserError(f"{path}: {name} lies outside {root}; put all images below one folder 'images'")
        members[image.relative_to(root).with_suffix("").as_posix()] = split
    if root is None or (labels := _labels_of(root)) is None:
        raise UserError(f"{path}: lists no images with labels; put them into folders 'images' and 'labels'")
    return Part(labels, root, members=members, names=described)


def _root_of(image: Path) -> Path:
    """The folder ``images`` an image lies below, or else its own."""
    return next((parent for parent in image.parents if parent.name.lower() == "images"), image.parent)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Lists of images below the same folder are one part."""
    folders: dict[tuple[Path, bool], Part] = {}
    for part in parts:
        key = (part.images, part.members is None)
        before = folders.get(key)
        if before is None:
            folders[key] = part
        elif part.members is None or before.members is None:
            raise UserError(f"{part.names}: {part.images} is both {before.split} and {part.split}; give each its own")
        else:
            twice = sorted(part.members.keys() & before.members.keys())
            if twice:
                raise UserError(f"{part.names}: {twice[0]} is listed for two splits; take it out of one list")
            folders[key] = Part(part.annotations, part.images, None, {**before.members, **part.members}, part.names)
    return tuple(folders.values())


def _by_folders(source: Path) -> Layout | None:
    found = [pair for folder in folders_in(source) if (pair := _pair(folder)) is not None]
    parts = [part for images, labels in found for part in _by_split(images, labels)]
    if not parts:
        return None
    lists = _class_lists(source, parts)
    named = (
        Part(part.annotations, part.images, part.split, names=names) for part, names in zip(parts, lists, strict=True)
    )
    return Layout("yolo", source, tuple(named))


def _class_lists(source: Path, parts: list[Part]) -> list[Path]:
    """The list of classes of each part: its own, that of the source, or the one that all other parts have.

    Raises:
        UserError: Nothing names the classes of a part.
    """
    own = [_class_file([part.annotations, part.annotations.parent, part.images.parent, source]) for part in parts]
    there = [names for names in own if names is not None]
    if not there:
        first = parts[0]
        raise UserError(
            f"{source}: looks like YOLO ({first.annotations} with {first.images}), but nothing names the classes; add "
            "classes.txt with a name per line, or data.yaml"
        )
    if None in own and len({names.read_bytes() for names in there}) > 1:
        raise UserError(
            f"{parts[own.index(None)].annotations}: nothing names its classes, and other folders have different lists; "
            "add its classes.txt with a name per line"
        )
    return [there[0] if names is None else names for names in own]


def _pair(folder: Path) -> tuple[Path, Path] | None:
    """Images and labels inside a folder."""
    images, labels = child(folder, ("images",)), child(folder, ("labels",))
    if images is not None and labels is not None:
        return (images, labels) if has_image(images, deep=True) and has_file(labels, (".txt",), deep=True) else None
    # Among the images; lists of classes and licences are no labels.
    texts = [path for path in folder.glob("*.txt") if path.name not in CLASS_FILES]
    beside = {path.stem for path in folder.iterdir() if path.suffix.lower() not in {".txt", ".xml", ".json"}}
    return (folder, folder) if has_image(folder) and any(path.stem in beside for path in texts) else None


def _by_split(images: Path, labels: Path) -> list[Part]:
    """One part for each folder named as a split; all of it where there is none."""
    folders = [path for path in sorted(images.iterdir()) if path.is_dir() and split_of_folder(path.name) is not None]
    if folders and not has_image(images):
        return [Part(labels / path.name, path, split_of_folder(path.name)) for path in folders]
    return [Part(labels, images, split_of_folder(images.name) or split_of_folder(images.parent.name))]


def _class_file(folders: list[Path]) -> Path | None:
    return next((folder / name for folder in folders for name in CLASS_FILES if (folder / name).is_file()), None)
