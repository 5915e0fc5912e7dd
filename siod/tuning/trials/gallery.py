"""The images on which the arms of a study are shown side by side, and what a trial found there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siod.tracking.records import Gallery, GalleryImage, TrueBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.data.coco import CocoDataset

GALLERY_IMAGES = 8
SCORE_THRESHOLD = 0.3
# What is kept for a reader who lowers the threshold; below it lie many boxes of no meaning.
RECORDED_FROM = 0.05


def choose_images(dataset: CocoDataset, *, count: int = GALLERY_IMAGES) -> tuple[int, ...]:
    """Choose images spread evenly over those that hold an annotation.

    Args:
        dataset: The validation set.
        count: How many at most.

    Returns:
        Image ids, ascending.
    """
    occupied = sorted({dataset.images[index].id for index in dataset.image_index.tolist()})
    if len(occupied) <= count:
        return tuple(occupied)
    return tuple(occupied[place * len(occupied) // count] for place in range(count))


def study_gallery(dataset: CocoDataset, image_ids: Sequence[int]) -> Gallery:
    """Describe the chosen images with all their annotated instances; crowds are left out.

    Args:
        dataset: The validation set.
        image_ids: Of :func:`choose_images`.

    Returns:
        Files are named as in the annotation file.
    """
    chosen = []
    places = dataset.place_of_image
    for image_id in image_ids:
        image = dataset.images[places[image_id]]
        rows = [row for row in dataset.rows_of_image(places[image_id]).tolist() if not dataset.iscrowd[row]]
        truth = tuple(_true_box(dataset, row) for row in rows)
        chosen.append(GalleryImage(image.id, image.file_name, image.width, image.height, truth))
    return Gallery(
        tuple(category.name for category in dataset.categories), tuple(chosen), SCORE_THRESHOLD, RECORDED_FROM
    )


def _true_box(dataset: CocoDataset, row: int) -> TrueBox:
    x, y, width, height = dataset.boxes_xywh[row].tolist()
    return TrueBox(x, y, width, height, int(dataset.labels[row]))


def found_in(
    detections: Sequence[dict[str, Any]], image_ids: Sequence[int], category_ids: Sequence[int]
) -> dict[str, list[list[float]]]:
    """Pick what a gallery may draw from a COCO results list: detections scored ``RECORDED_FROM`` or higher.

    Args:
        detections: COCO results, boxes x, y, width, height in pixels.
        image_ids: Images of the gallery.
        category_ids: The data set's id of each label.

    Returns:
        For each image id, as text, rows of x, y, width, height, score, label; the highest score first.

    Example:
        >>> found = {"image_id": 7, "category_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.9}
        >>> found_in([found], (7, 8), (1, 3))
        {'7': [[1.0, 2.0, 3.0, 4.0, 0.9, 1]], '8': []}
    """
    label_of = {category: label for label, category in enumerate(category_ids)}
    drawn: dict[str, list[list[float]]] = {str(image_id): [] for image_id in image_ids}
    for found in detections:
        rows = drawn.get(str(found["image_id"]))
        if rows is not None and found["score"] >= RECORDED_FROM:
            rows.append([*found["bbox"], found["score"], label_of[found["category_id"]]])
    for rows in drawn.values():
        rows.sort(key=lambda row: -row[4])
    return drawn
