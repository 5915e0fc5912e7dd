"""What was found, counted against hidden instances."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.dminer.mining.quality import MiningCounts, mining_counts
from siod.types import Grid, Target


def target(
    annotated: list[list[float]], labels: list[int], hidden: list[list[float]], hidden_labels: list[int]
) -> Target:
    return Target(
        torch.tensor(annotated).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.long),
        torch.tensor(hidden).reshape(-1, 4),
        torch.tensor(hidden_labels, dtype=torch.long),
    )


def mask(*entries: tuple[int, int, int, int], side: int = 8, batch: int = 1) -> torch.Tensor:
    found = torch.zeros(batch, 2, side, side, dtype=torch.bool)
    for entry in entries:
        found[entry] = True
    return found


def counted(found: list[torch.Tensor], targets: list[Target], strides_px: list[int]) -> MiningCounts:
    """Of levels whose positions stand for their cells."""
    return mining_counts({"splg": found}, targets, [Grid(stride, stride / 2) for stride in strides_px])["splg"]


def numbers(counts: MiningCounts) -> dict[str, int]:
    names = ("images", "entries", "on_hidden", "on_annotated", "hidden", "recalled")
    return dict(zip(names, counts.as_tensor().tolist(), strict=True))


def test_entries_are_judged_by_their_centre_and_class() -> None:
    # Position (x, y) of stride 4 has its centre at (4 x + 2, 4 y + 2).
    one = target([[0.0, 0.0, 6.0, 6.0]], [0], [[8.0, 8.0, 16.0, 16.0], [20.0, 20.0, 28.0, 28.0]], [0, 1])
    found = mask(
        (0, 0, 2, 2),  # (10, 10): on the hidden 0
        (0, 0, 3, 3),  # (14, 14): likewise
        (0, 1, 2, 2),  # the wrong class there
        (0, 0, 1, 1),  # (6, 6): on the annotated 0, at its corner
        (0, 1, 7, 7),  # (30, 30): on nothing
    )
    counts = counted([found], [one], [4])
    assert numbers(counts) == {
        "images": 1, "entries": 5, "on_hidden": 2, "on_annotated": 1, "hidden": 2, "recalled": 1,
    }  # fmt: skip
    assert counts.metrics("splg") == {
        "mining/splg_per_image": 5.0,
        "mining/splg_precision": 0.4,
        "mining/splg_on_annotated": 0.2,
        "mining/splg_recall": 0.5,
    }


def test_positions_look_where_their_grid_says() -> None:
    one = target([], [], [[12.5, 12.5, 17.5, 17.5]], [1])
    found = mask((0, 1, 4, 4), (0, 1, 3, 3))
    on_anchors = mining_counts({"splg": [found]}, [one], [Grid(4, 0)])["splg"]  # at 16 and 12 px
    on_cells = mining_counts({"splg": [found]}, [one], [Grid(4, 2)])["splg"]  # at 18 and 14 px
    assert (on_anchors.on_hidden, on_cells.on_hidden) == (1, 1)
    found[0, 1, 3, 3] = False
    assert mining_counts({"splg": [found]}, [one], [Grid(4, 0)])["splg"].on_hidden == 1
    assert mining_counts({"splg": [found]}, [one], [Grid(4, 2)])["splg"].on_hidden == 0


def test_an_entry_on_a_hidden_and_an_annotated_instance_is_on_the_hidden_one() -> None:
    box = [[0.0, 0.0, 8.0, 8.0]]
    counts = counted([mask((0, 1, 0, 0))], [target(box, [1], box, [1])], [4])
    assert (counts.on_hidden, counts.on_annotated) == (1, 0)


def test_an_instance_found_on_two_levels_is_recalled_once() -> None:
    one = target([], [], [[0.0, 0.0, 16.0, 16.0]], [1])
    counts = counted([mask((0, 1, 1, 1)), mask((0, 1, 0, 0), side=4)], [one], [4, 8])
    assert numbers(counts) == {
        "images": 1, "entries": 2, "on_hidden": 2, "on_annotated": 0, "hidden": 1, "recalled": 1,
    }  # fmt: skip


def test_instances_of_other_images_do_not_count() -> None:
    hidden = target([], [], [[0.0, 0.0, 8.0, 8.0]], [0])
    counts = counted([mask((0, 0, 0, 0), batch=2)], [target([], [], [], []), hidden], [4])
    assert (counts.on_hidden, counts.recalled, counts.hidden) == (0, 0, 1)


def test_a_share_of_nothing_is_absent() -> None:
    nothing_hidden = counted([mask()], [target([], [], [], [])], [4])
    assert nothing_hidden.metrics("pgcl") == {"mining/pgcl_per_image": 0.0}
    missed = counted([mask()], [target([], [], [[0.0, 0.0, 8.0, 8.0]], [0])], [4])
    assert missed.metrics("pgcl") == {"mining/pgcl_per_image": 0.0, "mining/pgcl_recall": 0.0}


def test_precision_is_absent_where_nothing_is_known_to_be_hidden() -> None:
    found = mask((0, 0, 0, 0), (0, 0, 7, 7))
    counts = counted([found], [target([[0.0, 0.0, 8.0, 8.0]], [0], [], [])], [4])
    assert counts.metrics("splg") == {"mining/splg_per_image": 2.0, "mining/splg_on_annotated": 0.5}


@given(st.integers(0, 2**31))
def test_counts_add_up_over_images(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(2, 2, 8, 8, generator=generator) > 0.8
    targets = []
    for _ in range(2):
        corners = torch.rand(3, 2, generator=generator) * 20
        boxes = torch.cat([corners, corners + torch.rand(3, 2, generator=generator) * 12], dim=1)
        targets.append(target(boxes[:1].tolist(), [0], boxes[1:].tolist(), [0, 1]))
    whole = counted([found], targets, [4])
    parts = [counted([found[i : i + 1]], targets[i : i + 1], [4]) for i in range(2)]
    assert numbers(parts[0] + parts[1]) == numbers(whole)
    assert numbers(MiningCounts.from_tensor(whole.as_tensor())) == numbers(whole)


def by_hand(found: torch.Tensor, one: Target, stride_px: int) -> tuple[int, int, int, int]:
    """Entries, on hidden, on annotated, recalled: every entry of an image against every box of it."""
    entries, on_hidden, on_annotated, recalled = 0, 0, 0, set()
    for label, y, x in found.nonzero().tolist():
        centre_x, centre_y = (x + 0.5) * stride_px, (y + 0.5) * stride_px

        def holding(boxes: torch.Tensor, labels: torch.Tensor) -> list[int]:
            return [
                number
                for number, ((x1, y1, x2, y2), own) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True))
                if own == label and x1 <= centre_x <= x2 and y1 <= centre_y <= y2  # noqa: B023
            ]

        hidden = holding(one.hidden_boxes_xyxy, one.hidden_labels)
        entries, on_hidden = entries + 1, on_hidden + bool(hidden)
        on_annotated += not hidden and bool(holding(one.boxes_xyxy, one.labels))
        recalled |= set(hidden)
    return entries, on_hidden, on_annotated, len(recalled)


@given(st.integers(0, 2**31))
def test_counts_are_those_of_every_entry_against_every_box(seed: int) -> None:
    """Boxes of one class overlap, edges fall on centres, and one image of three has no box."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(3, 2, 8, 8, generator=generator) > 0.7
    targets = [target([], [], [], [])]
    for _ in range(2):
        corners = torch.randint(0, 12, (9, 2), generator=generator) * 2
        boxes = torch.cat([corners, corners + 2 + torch.randint(0, 9, (9, 2), generator=generator) * 2], dim=1)
        labels = torch.randint(0, 2, (9,), generator=generator).tolist()
        targets.append(target(boxes[:4].tolist(), labels[:4], boxes[4:].tolist(), labels[4:]))
    counts = counted([found], targets, [4])
    expected = [sum(one) for one in zip(*map(by_hand, found, targets, [4] * 3), strict=True)]
    assert [counts.entries, counts.on_hidden, counts.on_annotated, counts.recalled] == expected
    assert (counts.images, counts.hidden) == (3, 10)


def test_both_miners_are_judged_and_a_run_without_miners_has_no_figures() -> None:
    one = target([], [], [[0.0, 0.0, 8.0, 8.0]], [0])
    labels, nothing = mask((0, 0, 1, 1)).float() * 0.7, mask()
    counts = mining_counts({"splg": [labels], "pgcl": [nothing]}, [one], [Grid(4, 2)])
    assert {miner: int(of_miner.on_hidden) for miner, of_miner in counts.items()} == {"splg": 1, "pgcl": 0}
    assert mining_counts({}, [one], [Grid(4, 2)]) == {}
