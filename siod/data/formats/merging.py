"""Several COCO documents as one: ids made anew, categories by name."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from siod.data.category_states import FEDERATED
from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Document = Mapping[str, Any]


@dataclass
class Joined:
    """What documents become.

    Attributes:
        images: In the order of the documents, numbered from 1.
        annotations: Likewise.
        categories: In the order in which they first occur, numbered from 1.
        licenses: Each once.
        remarks: Sentences about names that nearly agree.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=list)
    licenses: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def sections(self) -> dict[str, Any]:
        """As the sections of a document."""
        licenses = {"licenses": self.licenses} if self.licenses else {}
        return {
            **licenses,
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }


def with_source_ids(document: Document, renumbered: Mapping[int, Any] | None = None) -> dict[str, Any]:
    """A document whose images and annotations remember their ids as ``source_id``, for ids are made anew.

    Args:
        document: With ids, perhaps repaired ones.
        renumbered: The ids that annotations had before the repair, by those they have.
    """
    former = renumbered or {}
    images = [{**entry, "source_id": entry["id"]} for entry in document["images"]]
    annotations = [{**entry, "source_id": former.get(entry["id"], entry["id"])} for entry in document["annotations"]]
    return {**document, "images": images, "annotations": annotations}


Unlisted = Literal["absent", "unlabelled"]
ABSENT, NOT_EXHAUSTIVE = FEDERATED


def join(documents: Sequence[Document], *, unlisted: Unlisted = "absent") -> Joined:
    """Put documents one after the other.

    Categories are one where their names agree but for blanks around them; case counts. Names that differ only in case,
    punctuation or a final s stay apart and are pointed out.

    Args:
        documents: Sound and plain: every annotation refers to an image and a category of its document.
        unlisted: What holds in a document's images for categories that it does not list, but another one does. They
            are absent, or nobody looked for them: then each image lists those of its document's categories that it
            lacks, as LVIS's images do.

    Returns:
        All images and annotations, none left out.
    """
    joined = Joined()
    ids_by_name: dict[str, int] = {}
    image_ids, annotation_ids = itertools.count(1), itertools.count(1)
    for document in documents:
        categories = {entry["id"]: _category(joined, ids_by_name, entry) for entry in _by_id(document["categories"])}
        licenses = {entry["id"]: _license(joined, entry) for entry in _licenses(document)}
        images: dict[int, int] = {}
        lists = _with_absent(document) if unlisted == "unlabelled" else document["images"]
        for entry in lists:
            images[entry["id"]] = next(image_ids)
            license_ = {"license": licenses[entry["license"]]} if entry.get("license") in licenses else {}
            fields = {
                name: [categories[one] for one in entry[name] if one in categories]
                for name in (ABSENT, NOT_EXHAUSTIVE)
                if isinstance(entry.get(name), list)
            }
            joined.images.append({**entry, **license_, **fields, "id": images[entry["id"]]})
        for entry in document["annotations"]:
            ids = {"image_id": images[entry["image_id"]], "category_id": categories[entry["category_id"]]}
            joined.annotations.append({**entry, "id": next(annotation_ids), **ids})
    joined.remarks += _nearly_equal(list(ids_by_name))
    return joined


def _with_absent(document: Document) -> list[dict[str, Any]]:
    """The images, each with the categories of the document that it has no box of; those that list some stay."""
    shown: dict[int, set[int]] = {}
    for entry in document["annotations"]:
        shown.setdefault(entry["image_id"], set()).add(entry["category_id"])
    ids = [entry["id"] for entry in document["categories"]]
    return [
        entry
        if ABSENT in entry or NOT_EXHAUSTIVE in entry
        else {**entry, ABSENT: [one for one in ids if one not in shown.get(entry["id"], ())]}
        for entry in document["images"]
    ]


def unlisted_categories(documents: Iterable[Document]) -> list[str]:
    """Names of the categories that some of the documents list and others do not, in alphabetical order."""
    listed = [{entry["name"].strip() for entry in document["categories"]} for document in documents]
    return sorted(set.union(*listed) - set.intersection(*listed))


def _by_id(categories: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of ids, which is that of labels."""
    return sorted(categories, key=lambda entry: int(entry["id"]))


def _category(joined: Joined, ids_by_name: dict[str, int], entry: dict[str, Any]) -> int:
    """The new id of a category."""
    name = entry["name"].strip()
    if name not in ids_by_name:
        ids_by_name[name] = len(ids_by_name) + 1
        joined.categories.append({**entry, "id": ids_by_name[name], "name": name})
    return ids_by_name[name]


def _licenses(document: Document) -> list[dict[str, Any]]:
    found = document.get("licenses")
    entries = found if isinstance(found, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), int)]


def _license(joined: Joined, entry: dict[str, Any]) -> int:
    """The new id of a licence; equal ones are one."""
    for known in joined.licenses:
        if {**known, "id": 0} == {**entry, "id": 0}:
            return int(known["id"])
    joined.licenses.append({**entry, "id": len(joined.licenses) + 1})
    return len(joined.licenses)


def _nearly_equal(names: Sequence[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in names:
        letters = "".join(character for character in name.casefold() if character.isalnum())
        groups.setdefault(letters.removesuffix("s"), []).append(name)
    return [
        f"categories {', '.join(map(repr, group))} are told apart; if they are one, give them one name in the source"
        for group in groups.values()
        if len(group) > 1
    ]


def shared_names(documents: Mapping[str, Document]) -> None:
    """Refuse documents that name one image file: nobody can tell whether it is one image or two.

    Raises:
        UserError: Names the first.
    """
    owners: dict[str, str] = {}
    for label, document in documents.items():
        for entry in document["images"]:
            owner = owners.setdefault(entry["file_name"], label)
            if owner != label:
                raise UserError(
                    f"{entry['file_name']}: is listed by {owner} and by {label}; if it is one image, add "
                    "--same-images; of two, import both folders (siod data import), which keeps them apart"
                )


def _join_fields(owner: dict[str, Any], entry: Mapping[str, Any]) -> None:
    """What was looked for in an image is what any document looked for."""
    for name in (ABSENT, NOT_EXHAUSTIVE):
        if name in owner or name in entry:
            owner[name] = sorted({*owner.get(name, ()), *entry.get(name, ())})


def with_same_images(joined: Joined) -> Joined:
    """Images of one name become one, with the annotations of all; an annotation that two documents have is kept once.

    Raises:
        UserError: Images of one name have different sizes.
    """
    first: dict[str, dict[str, Any]] = {}
    ids: dict[int, int] = {}
    for entry in joined.images:
        owner = first.setdefault(entry["file_name"], {**entry, "id": len(first) + 1})
        if (owner["width"], owner["height"]) != (entry["width"], entry["height"]):
            sizes = f"{owner['width']} x {owner['height']} and {entry['width']} x {entry['height']}"
            raise UserError(f"{entry['file_name']}: is {sizes} px in different files; leave --same-images out")
        ids[entry["id"]] = owner["id"]
        if owner["id"] != entry["id"]:
            _join_fields(owner, entry)
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in joined.annotations:
        image_id = ids[entry["image_id"]]
        key = (image_id, entry["category_id"], *entry["bbox"], bool(entry.get("iscrowd")))
        kept.setdefault(key, {**entry, "image_id": image_id})
    annotations = [{**entry, "id": number} for number, entry in enumerate(kept.values(), start=1)]
    shown = {(entry["image_id"], entry["category_id"]) for entry in annotations}
    for owner in first.values():
        if ABSENT in owner:
            owner[ABSENT] = [one for one in owner[ABSENT] if (owner["id"], one) not in shown]
    twice = len(joined.annotations) - len(annotations)
    remarks = [f"{twice} annotations were in several files alike and are kept once"] if twice else []
    return Joined(list(first.values()), annotations, joined.categories, joined.licenses, [*joined.remarks, *remarks])
