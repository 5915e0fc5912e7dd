"""Where a run is carried out follows from what it asks for and from what there is, and from nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siod.training.experiment import Compute, Experiment
from siod.training.placement import (
    LONG_ON_CPU_PIXELS,
    Node,
    Placement,
    describe,
    describe_autoscaled,
    fits_at_once,
    long_on_cpu,
    place,
    placed,
    trained_pixels,
)
from siod.training.presets import coco_centernet_r18, coco_faster_rcnn_r50_c4, digits_centernet

FOUR_GPUS = Node(cpus=36, gpus=4)


def given_on(*nodes: Node, **asked: float) -> Placement:
    return Placement.of(place(Compute(**asked), nodes))


def test_a_worker_gets_a_gpu_and_its_share_of_the_cores() -> None:
    # 36 / 4 = 9 cores each: one trains, eight load.
    assert given_on(FOUR_GPUS) == Placement(workers=1, cpus=9, gpus=1, loader_workers=8)
    assert fits_at_once(given_on(FOUR_GPUS), [FOUR_GPUS]) == 4


def test_no_worker_gets_more_loader_processes_than_a_gpu_can_use() -> None:
    # 128 / 4 = 32 cores each, of which 1 + 12 are taken.
    assert given_on(Node(128, 4)) == Placement(1, 13, 1, 12)


def test_the_poorest_machine_with_gpus_sets_the_share_and_one_without_counts_for_nothing() -> None:
    # 9 cores a GPU here, 4 there; 64 cores without a GPU could hold no such trial.
    assert given_on(FOUR_GPUS, Node(8, 2), Node(64)) == Placement(1, 4, 1, 3)


def test_a_share_of_a_gpu_gets_that_share_of_the_cores() -> None:
    # A quarter of 9 cores is two and a bit: one trains, one loads. Sixteen trials take 32 of the 36 cores.
    placement = given_on(FOUR_GPUS, gpus_per_worker=0.25)
    assert placement == Placement(1, 2, 0.25, 1)
    assert fits_at_once(placement, [FOUR_GPUS]) == 16
    assert describe(placement, 16, [FOUR_GPUS]).endswith("idle: 4 CPU")


def test_where_there_is_no_gpu_a_worker_gets_one_core_as_ever() -> None:
    assert given_on(Node(64)) == Placement(workers=1, cpus=1, gpus=0, loader_workers=0)
    assert given_on(Node(64)).threads == 1


def test_more_gpus_than_cores_leave_a_core_to_each_trial() -> None:
    assert given_on(Node(2, 4)) == Placement(1, 1, 1, 0)
    assert describe(given_on(Node(2, 4)), 2, [Node(2, 4)]) == "2 trials at once, each 1 GPU, 1 CPU; idle: 2 GPU"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"gpus_per_worker": 0}, Placement(1, 1, 0, 0)),  # GPUs are there, and stay unused
        ({"loader_workers": 4}, Placement(1, 5, 1, 4)),  # what loads is reserved beside what trains
        ({"cpus_per_worker": 6}, Placement(1, 6, 1, 5)),
        ({"cpus_per_worker": 0.5}, Placement(1, 0.5, 1, 0)),
        ({"cpus_per_worker": 2, "loader_workers": 4}, Placement(1, 2, 1, 4)),
        ({"workers": 4}, Placement(4, 9, 1, 8)),
        ({"gpus_per_worker": 2}, Placement(1, 13, 2, 12)),
        ({"gpus_per_worker": 0, "loader_workers": 2}, Placement(1, 3, 0, 2)),
    ],
)
def test_what_is_asked_for_stays_as_it_is(asked: dict[str, float], expected: Placement) -> None:
    assert given_on(FOUR_GPUS, **asked) == expected


def test_loader_processes_take_their_cores_from_the_threads_that_train() -> None:
    assert Placement(1, 9, 1, 8).threads == 1
    assert Placement(1, 4, 0, 1).threads == 3
    assert Placement(1, 2, 1, 4).threads == 1
    assert Placement(1, 0.5).threads == 1


def test_machines_that_are_not_up_yet_are_thought_small() -> None:
    # --gpus-per-worker 1 on a cluster whose GPU machines the autoscaler has still to start.
    assert given_on(Node(8), gpus_per_worker=1) == Placement(1, 4, 1, 3)


@given(
    workers=st.integers(1, 4),
    gpus=st.sampled_from([None, 0.0, 0.25, 0.5, 1.0, 2.0]),
    loaders=st.none() | st.integers(0, 5),
    nodes=st.lists(st.builds(Node, st.integers(0, 64), st.integers(0, 8)), min_size=1, max_size=4),
)
def test_a_placed_run_stays_where_it_was_placed_whatever_the_machines(
    workers: int, gpus: float | None, loaders: int | None, nodes: list[Node]
) -> None:
    workers = 1 if gpus in {0.25, 0.5} else workers
    compute = place(Compute(workers=workers, gpus_per_worker=gpus, loader_workers=loaders), nodes)
    assert place(compute, [Node(1)]) == place(compute, [Node(512, 64)]) == compute
    assert Placement.of(compute).cpus == 1 + Placement.of(compute).loader_workers


def test_what_is_still_open_is_no_placement() -> None:
    with pytest.raises(ValueError, match="compute is automatic still; place it first"):
        Placement.of(Compute(gpus_per_worker=1))


def test_the_device_follows_from_what_is_reserved() -> None:
    assert given_on(FOUR_GPUS).device == "cuda"
    assert given_on(FOUR_GPUS, gpus_per_worker=0).device == "cpu"
    assert given_on(FOUR_GPUS, gpus_per_worker=0.1).device == "cuda"


def test_where_a_run_is_placed_is_no_part_of_what_it_learns() -> None:
    experiment = digits_centernet()
    elsewhere = placed(experiment, [FOUR_GPUS])
    assert elsewhere.compute != experiment.compute
    assert elsewhere.identity("data") == experiment.identity("data")


def test_records_of_runs_before_there_was_anything_automatic_are_read_as_they_were_meant() -> None:
    written = digits_centernet().model_dump(mode="json")
    written["compute"] = {
        "carrier": "auto",
        "workers": 1,
        "cpus_per_worker": 1.0,
        "gpus_per_worker": 0.0,
        "loader_workers": 0,
        "max_failures": 1,
    }
    read = Experiment.model_validate(json.loads(json.dumps(written)))
    assert Placement.of(placed(read, [FOUR_GPUS]).compute) == Placement(1, 1, 0, 0)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"gpus_per_worker": 0.5, "workers": 2}, "gpus_per_worker 0.5 with 2 workers would put two of them on one GPU"),
        ({"gpus_per_worker": 1.5}, "gpus_per_worker 1.5 is neither a share of one GPU nor whole GPUs"),
        ({"gpus_per_worker": 2.5, "workers": 2}, "gpus_per_worker 2.5 is neither a share of one GPU nor whole GPUs"),
    ],
)
def test_shares_that_cannot_work_are_refused(asked: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Compute(**asked)


def test_a_small_run_may_share_a_gpu_and_workers_may_have_whole_ones() -> None:
    assert Compute(gpus_per_worker=0.25).in_process()
    assert not Compute(workers=2, gpus_per_worker=1).in_process()


@pytest.mark.parametrize(
    ("placement", "nodes", "fits"),
    [
        (Placement(1, 1), [Node(2)], 2),
        (Placement(1, 3), [Node(2), Node(2)], 0),  # four cores in all, but no machine with three
        (Placement(2, 1), [Node(1), Node(2)], 1),
        (Placement(1, 0.1), [Node(0.3)], 3),  # 0.3 / 0.1 is 2.9999999999999996
        (Placement(1, 1, 1), [Node(8, 2), Node(8)], 2),
        (Placement(1, 1, 0.5), [Node(8, 1)], 2),
        (Placement(4, 2, 1), [Node(8, 4), Node(8, 4), Node(6, 4)], 2),
        (Placement(1, 1, 0.4), [Node(8, 2)], 4),  # two on each GPU; what both have left makes no fifth
        (Placement(1, 1, 0.1), [Node(64, 1)], 10),  # 1 / 0.1 is 10, whatever floating point says
        (Placement(1, 1, 2), [Node(64, 5)], 2),
    ],
)
def test_trials_fit_where_each_worker_finds_one_machine(placement: Placement, nodes: list[Node], fits: int) -> None:
    assert fits_at_once(placement, nodes) == fits


@given(
    workers=st.integers(1, 4),
    cpus=st.integers(1, 4),
    nodes=st.lists(st.builds(Node, st.integers(0, 16), st.integers(0, 8)), max_size=4),
    gpus=st.sampled_from([0, 0.3, 0.5, 1, 2]),
)
def test_what_fits_at_once_never_asks_for_more_than_there_is(
    workers: int, cpus: int, nodes: list[Node], gpus: float
) -> None:
    fits = fits_at_once(Placement(workers, cpus, gpus), nodes)
    assert fits * workers * cpus <= sum(node.cpus for node in nodes)
    assert fits * workers * gpus <= sum(node.gpus for node in nodes)


def test_what_is_told_adds_up_to_what_there_is() -> None:
    pair = Placement(workers=2, cpus=9, gpus=1, loader_workers=8)
    assert describe(pair, 2, [FOUR_GPUS]) == (
        "2 trials at once, each 2 workers of 1 GPU, 9 CPU (8 loader processes); nothing idle"
    )
    assert describe(pair, 1, [FOUR_GPUS]).endswith("; idle: 2 GPU, 18 CPU")
    assert describe(Placement(1, 1), 2, [FOUR_GPUS]) == "2 trials at once, each 1 CPU; idle: 4 GPU, 34 CPU"
    assert describe(Placement(1, 2, 1, 1), 1, [Node(2, 1)]) == (
        "1 trial at once, each 1 GPU, 2 CPU (1 loader process); nothing idle"
    )


def test_the_second_gpu_of_a_worker_is_told_as_idle() -> None:
    # A worker trains on one GPU, so two of the four do nothing.
    assert describe(Placement(1, 13, 2, 12), 2, [FOUR_GPUS]).endswith("; idle: 2 GPU, 10 CPU")


def test_a_cluster_that_grows_has_nothing_idle_to_tell_of() -> None:
    assert describe_autoscaled(Placement(1, 4, 1, 3), 40) == (
        "40 trials at once, each 1 GPU, 4 CPU (3 loader processes); the autoscaler starts the machines"
    )


def test_what_a_training_costs_is_counted_in_pixels() -> None:
    # 2 images, 6 epochs, 96 x 96.
    assert trained_pixels(digits_centernet(), 2) == 2 * 6 * 96 * 96
    short = coco_faster_rcnn_r50_c4(Path("coco")).with_changes(
        {"augmentation.short_edge.lengths": (600, 900), "recipe.epochs": 2, "recipe.schedule.milestones": (1,)}
    )
    # A photograph of three by four: 600 x 800 or 900 x 1200, one as often as the other.
    assert trained_pixels(short, 10) == pytest.approx(10 * 2 * (600 * 800 + 900 * 1200) / 2)


def test_only_trainings_of_coco_s_size_on_cpu_cores_are_asked_about() -> None:
    coco, digits = coco_centernet_r18(Path("coco")), digits_centernet()
    here, there = [Node(8)], [FOUR_GPUS]
    # 118,287 images x 140 epochs x 512 x 512 pixels.
    assert long_on_cpu([(placed(coco, here), 118_287), (placed(digits, here), 2_400)]) == (
        "1 trial of COCO's size (4.3e+12 pixels of input; digits have 1e8) would train on CPU cores"
    )
    assert long_on_cpu([(placed(coco, there), 118_287)]) is None
    assert long_on_cpu([(placed(digits, here), 2_400)]) is None
    assert 2_400 * 6 * 96 * 96 * 10 < LONG_ON_CPU_PIXELS < 118_287 * 12 * 640 * 853 / 10


def test_deciding_needs_neither_torch_nor_ray() -> None:
    code = "import sys, siod.training.placement; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
