"""Tables 8 and 9, worked out by hand for a small data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siod.data import coco
from siod.data.annotation_sets import Full, Keep, annotate
from siod.data.describing.statistics import PAPER_COST, Cost, measure
from siod.data.describing.statistics_tables import (
    CATEGORY_COLUMNS,
    SET_COLUMNS,
    category_rows,
    latex,
    markdown,
    remarks,
    set_rows,
)
from siod.data.known_files import content_of
from siod.errors import UserError


@pytest.fixture
def dataset(tmp_path: Path) -> coco.CocoDataset:
    """Four images; three cats in the first, a cat and a dog in the second, a crowd of cats in the third."""
    rows = [(0, 1, 10), (0, 1, 40), (0, 1, 100), (1, 1, 10), (1, 2, 10)]
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 200, "height": 200} for i in range(4)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog_1"}, {"id": 3, "name": "emu"}],
        "annotations": [
            *(
                {"id": i, "image_id": image, "category_id": category, "bbox": [0, 0, side, side], "area": side**2}
                for i, (image, category, side) in enumerate(rows)
            ),
            {"id": 9, "image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    return coco.read(tmp_path / "x.json")


def test_table_8_counts_instances_per_image_and_category(dataset: coco.CocoDataset) -> None:
    statistics = measure(dataset)
    assert (statistics.images, statistics.sampled_images, statistics.crowds) == (4, 4, 1)
    assert statistics.full.instances == 5
    assert statistics.full.per_image == 1.25
    # Per image: 4/4 cats, 1/4 dogs, 0 emus; mean 5/12, variance (1 + 1/16 + 0) / 3 - (5/12)^2.
    assert statistics.full.per_image_category == pytest.approx(5 / 12)
    assert statistics.full.variance == pytest.approx(17 / 48 - 25 / 144)
    assert statistics.full.sizes == {"small": 3, "medium": 1, "large": 1}
    # One cat of three, one cat, one dog.
    assert statistics.kept.instances == 3
    assert statistics.kept.per_image == 0.75
    assert statistics.keep_ratio == pytest.approx(3 / 5)


def test_table_9_has_the_ratio_of_each_category(dataset: coco.CocoDataset) -> None:
    cat, dog, emu = measure(dataset).categories
    assert (cat.name, cat.instances, cat.sample_ratio, cat.keep_ratio) == ("cat", 4, 1.0, 0.5)
    assert (dog.instances, dog.keep_ratio) == (1, 1.0)
    assert emu.instances == 0
    assert emu.keep_ratio != emu.keep_ratio  # NaN: there is nothing to keep a share of


def test_a_sample_of_images_counts_only_those_and_is_repeatable(dataset: coco.CocoDataset) -> None:
    seen = set()
    for seed in range(40):
        statistics = measure(dataset, sample_images=1, seed=seed)
        assert statistics.plain() == measure(dataset, sample_images=1, seed=seed).plain()
        seen.add((statistics.full.instances, statistics.kept.instances))
        assert statistics.sampled_images == 1
    assert seen == {(3, 1), (2, 2), (0, 0)}


def test_the_policy_decides_what_is_kept(dataset: coco.CocoDataset) -> None:
    assert measure(dataset, Full()).kept.instances == 5
    assert measure(dataset, Keep(k=2)).kept.instances == 4


def test_hours_follow_images_and_boxes(dataset: coco.CocoDataset) -> None:
    statistics = measure(dataset)
    assert statistics.full.hours == pytest.approx((4 * 9.0 + 5 * 9.93) / 3600)
    assert statistics.kept.hours == pytest.approx((4 * 9.0 + 3 * 9.93) / 3600)
    assert measure(dataset, cost=Cost(0, 36)).kept.hours == pytest.approx(3 * 36 / 3600)


def test_the_papers_seconds_give_the_papers_timings() -> None:
    # Table 8: 36,419 and 14,674 boxes in 5,000 images.
    assert 3600 / 5000 * PAPER_COST.hours(5000, 36419) == pytest.approx(81.32, abs=0.02)
    assert 3600 / 5000 * PAPER_COST.hours(5000, 14674) == pytest.approx(38.14, abs=0.02)


def test_equal_sets_take_equal_hours(dataset: coco.CocoDataset) -> None:
    statistics = measure(dataset, Full())
    assert statistics.full.hours == statistics.kept.hours


def test_the_assumption_behind_the_hours_is_told(dataset: coco.CocoDataset) -> None:
    of_paper = "9 s an image and 9.93 s a box (a line through the timings of the paper's Table 8)"
    assert remarks(measure(dataset)) == [f"Hours assume {of_paper}."]
    assert remarks(measure(dataset, cost=Cost(2, 7.5))) == ["Hours assume 2 s an image and 7.5 s a box."]
    assert measure(dataset).plain()["cost"] == {"seconds_per_image": 9.0, "seconds_per_box": 9.93}


def test_a_source_that_is_a_part_of_another_is_pointed_out(dataset: coco.CocoDataset, tmp_path: Path) -> None:
    coco.write(tmp_path / "keep1.json", annotate(dataset, Keep()))
    statistics = measure(coco.read(tmp_path / "keep1.json"))
    told = "The source says it is keep-1: what is called full here lacks boxes that nobody can count."
    assert remarks(statistics)[1:] == [told]
    assert statistics.plain()["source_set"] == "keep-1"
    assert content_of(tmp_path / "keep1.json").stated == "keep-1"
    assert content_of(dataset.path).stated == ""


@pytest.mark.parametrize("sample", [0, -1, 5])
def test_a_sample_that_cannot_be_taken_is_refused(dataset: coco.CocoDataset, sample: int) -> None:
    with pytest.raises(UserError, match=f"cannot sample {sample} of 4 images; sample 1 to 4"):
        measure(dataset, sample_images=sample)


def test_the_tables_show_the_numbers(dataset: coco.CocoDataset) -> None:
    statistics = measure(dataset)
    assert markdown(SET_COLUMNS, set_rows(statistics)).splitlines() == [
        "| set | instances | per image | per image and category | small / medium / large | hours |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| full | 5 | 1.25 | 0.417 (0.181) | 3 / 1 / 1 | 0.0 |",
        f"| keep | 3 | 0.75 | 0.250 (0.042) | {' / '.join(map(str, statistics.kept.sizes.values()))} | 0.0 |",
    ]
    assert latex(CATEGORY_COLUMNS, category_rows(statistics)).splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"category & instances & sample ratio & keep ratio \\",
        r"\midrule",
        r"cat & 4 & 1.000 & 0.500 \\",
        r"dog\_1 & 1 & 1.000 & 1.000 \\",
        r"emu & 0 & - & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_the_numbers_can_be_written_as_json(dataset: coco.CocoDataset) -> None:
    plain = json.loads(json.dumps(measure(dataset).plain(), allow_nan=False))
    assert plain["keep_ratio"] == 0.6
    assert plain["kept"]["instances"] == 3
    assert plain["categories"][2] == {"name": "emu", "instances": 0, "sample_ratio": None, "keep_ratio": None}
