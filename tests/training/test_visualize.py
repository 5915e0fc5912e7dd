"""What the miners find in training images is told in the frame of the image files, and judged by all instances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from siod.data import coco
from siod.data.source import PreparedData
from siod.detectors.spec import DetectorSpec
from siod.detectors.zoo import (
    CENTERNET_TINY,
    FASTER_RCNN_TINY,
    FASTER_RCNN_TINY_MINING,
    FCOS_TINY,
    RETINANET_TINY,
    build,
)
from siod.dminer.dminer import DMiner
from siod.dminer.reject import Reject
from siod.errors import UserError
from siod.training.experiment import Experiment
from siod.training.predict import Trained, best_of
from siod.training.visualize import Box, mined_images


def trained(spec: DetectorSpec, small: Experiment, data: PreparedData) -> Trained:
    torch.manual_seed(0)
    detector = build(spec, num_classes=len(data.category_names)).eval()
    experiment = small.with_changes({"detector": spec, "dminer": None})
    return Trained(detector, experiment, data.category_ids, data.category_names)


def boxes_of(path: Path, image_id: int) -> set[tuple[float, ...]]:
    dataset = coco.read(path)
    place = next(place for place, image in enumerate(dataset.images) if image.id == image_id)
    return {tuple(round(edge, 3) for edge in dataset.boxes_xywh[row].tolist()) for row in dataset.rows_of_image(place)}


def rounded(boxes: tuple[tuple[Box, int], ...]) -> set[tuple[float, ...]]:
    return {tuple(round(edge, 3) for edge in box) for box, _ in boxes}


@pytest.mark.parametrize("spec", [CENTERNET_TINY, FASTER_RCNN_TINY_MINING, FCOS_TINY, RETINANET_TINY])
def test_every_family_shows_where_its_miners_look(
    spec: DetectorSpec, small: Experiment, small_data: PreparedData
) -> None:
    made = mined_images(trained(spec, small, small_data), small_data, count=2, similarities=(-1.0, 1.0))
    assert len(made) == 2
    for image in made:
        assert rounded(image.annotated) == boxes_of(small_data.train, image.image_id)
        both = rounded((*image.annotated, *image.hidden))
        assert both == boxes_of(small_data.train_full, image.image_id)
        assert image.file.is_file()
        assert image.hidden
        everything, nothing, best, together = image.found
        # Everything unlabelled is similar enough at -1; nothing unlabelled equals a prototype.
        assert len(everything.positions["splg"]) > len(nothing.positions["splg"])
        assert set(best.positions) == {"pgcl"}
        assert set(together.positions) == {"splg", "pgcl"}
        assert together.positions["pgcl"] == best.positions["pgcl"]
        for found in image.found:
            for miner, cells in found.positions.items():
                assert len(cells) == int(found.counts[miner].entries)


def test_cells_are_squares_of_the_detectors_stride_in_the_image_file(
    small: Experiment, small_data: PreparedData
) -> None:
    (image,) = mined_images(trained(CENTERNET_TINY, small, small_data), small_data, count=1, similarities=(-1.0,))
    size_px = small_data_size(small_data, image.image_id)
    cells = image.found[0].positions["splg"]
    # The input is the image itself, padded: cells are whole, in rows and columns of four pixels.
    assert {(width, height) for (_, _, width, height), _ in cells} == {(4.0, 4.0)}
    assert {x % 4 for (x, _, _, _), _ in cells} == {0.0}
    assert max(x for (x, _, _, _), _ in cells) <= size_px - 4


def small_data_size(data: PreparedData, image_id: int) -> int:
    return next(image.width for image in coco.read(data.train).images if image.id == image_id)


def test_a_detector_without_features_to_mine_in_says_so(small: Experiment, small_data: PreparedData) -> None:
    with pytest.raises(UserError, match=r"trained without detector\.mining_branch"):
        mined_images(trained(FASTER_RCNN_TINY, small, small_data), small_data, count=1, similarities=())


def test_settings_of_the_run_are_shown(small: Experiment, small_data: PreparedData) -> None:
    plain = trained(CENTERNET_TINY, small, small_data)
    mining = DMiner().with_changes({"splg.min_similarity": 0.25, "pgcl.top_m": 7})
    own = replace(plain, experiment=plain.experiment.with_changes({"dminer": mining}))
    (image,) = mined_images(own, small_data, count=1, similarities=())
    assert [found.title for found in image.found] == ["PGCL, the best 7", "SPLG at 0.25, and PGCL"]
    assert len(image.found[0].positions["pgcl"]) == 7


def test_a_run_with_reject_shows_what_it_leaves_out(small: Experiment, small_data: PreparedData) -> None:
    plain = trained(CENTERNET_TINY, small, small_data)
    mining = DMiner(splg=None, pgcl=None, reject=Reject(max_share=0.05))
    own = replace(plain, experiment=plain.experiment.with_changes({"dminer": mining}))
    (image,) = mined_images(own, small_data, count=1, similarities=())
    *_, rejected = image.found
    assert rejected.title == "Reject, the hardest 5%"
    assert len(rejected.positions["reject"]) == int(rejected.counts["reject"].entries) > 0
    shown = {label for _, label in image.annotated}
    assert {label for _, label in rejected.positions["reject"]} <= shown  # the others are surely absent


def test_a_runs_folder_stands_for_its_best_checkpoint(tmp_path: Path) -> None:
    best = tmp_path / "checkpoints" / "best.pt"
    with pytest.raises(UserError, match=r"no checkpoints/best\.pt"):
        best_of(tmp_path)
    best.parent.mkdir()
    best.touch()
    assert best_of(tmp_path) == best_of(best.parent) == best_of(best) == best
