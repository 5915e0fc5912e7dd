"""What was found, counted against hidden instances."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from siod.dminer.mining_quality import MiningCounts, mining_counts
from siod.types import Target


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
    counts = mining_counts([found], [one], [4])
    assert numbers(counts) == {
        "images": 1, "entries": 5, "on_hidden": 2, "on_annotated": 1, "hidden": 2, "recalled": 1,
    }  # fmt: skip
    assert counts.metrics("splg") == {
        "mining/splg_per_image": 5.0,
        "mining/splg_precision": 0.4,
        "mining/splg_on_annotated": 0.2,
        "mining/splg_recall": 0.5,
    }


def test_an_entry_on_a_hidden_and_an_annotated_instance_is_on_the_hidden_one() -> None:
    box = [[0.0, 0.0, 8.0, 8.0]]
    counts = mining_counts([mask((0, 1, 0, 0))], [target(box, [1], box, [1])], [4])
    assert (counts.on_hidden, counts.on_annotated) == (1, 0)


def test_an_instance_found_on_two_levels_is_recalled_once() -> None:
    one = target([], [], [[0.0, 0.0, 16.0, 16.0]], [1])
    counts = mining_counts([mask((0, 1, 1, 1)), mask((0, 1, 0, 0), side=4)], [one], [4, 8])
    assert numbers(counts) == {
        "images": 1, "entries": 2, "on_hidden": 2, "on_annotated": 0, "hidden": 1, "recalled": 1,
    }  # fmt: skip


def test_instances_of_other_images_do_not_count() -> None:
    hidden = target([], [], [[0.0, 0.0, 8.0, 8.0]], [0])
    counts = mining_counts([mask((0, 0, 0, 0), batch=2)], [target([], [], [], []), hidden], [4])
    assert (counts.on_hidden, counts.recalled, counts.hidden) == (0, 0, 1)


def test_finding_nothing_among_nothing_has_figures_of_zero() -> None:
    counts = mining_counts([mask()], [target([], [], [], [])], [4])
    assert set(counts.metrics("pgcl").values()) == {0.0}


@given(st.integers(0, 2**31))
def test_counts_add_up_over_images(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found = torch.rand(2, 2, 8, 8, generator=generator) > 0.8
    targets = []
    for _ in range(2):
        corners = torch.rand(3, 2, generator=generator) * 20
        boxes = torch.cat([corners, corners + torch.rand(3, 2, generator=generator) * 12], dim=1)
        targets.append(target(boxes[:1].tolist(), [0], boxes[1:].tolist(), [0, 1]))
    whole = mining_counts([found], targets, [4])
    parts = [mining_counts([found[i : i + 1]], targets[i : i + 1], [4]) for i in range(2)]
    assert numbers(parts[0] + parts[1]) == numbers(whole)
    assert numbers(MiningCounts.from_tensor(whole.as_tensor())) == numbers(whole)
