"""What a step costs the host of a GPU, counted on a CPU: how often it waits for the device, how much it launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hot_path
import pytest
import torch
from host_cost import HostCost
from torch.utils._python_dispatch import TorchDispatchMode

from siod.detectors.zoo import CENTERNET_TINY, build
from siod.dminer.mining.levels import mine
from siod.dminer.pgcl import PGCL
from siod.dminer.splg import SPLG
from siod.methods.steps.teacher import Teacher
from siod.state import State
from siod.training.distributed import average_statistics, running_statistics
from siod.training.mining_log import MiningLog
from siod.training.phases import Phase
from siod.types import DenseLevel, Grid, Target, unlabelled_classes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_step_of_centernet_with_dminer_waits_six_times_at_most_whatever_the_number_of_images() -> None:
    few, many = (hot_path.step_figures(CENTERNET_TINY, None, images, dminer=True)["waits"] for images in (2, 8))
    assert few == many <= 6


def test_the_losses_are_read_when_the_update_is_queued() -> None:
    """Read before, they would leave the device without work until the host has queued the backward pass."""

    class Reads(HostCost):
        def __torch_dispatch__(self, func: Any, *rest: Any) -> Any:
            if func.__name__.startswith("_fused_adam_"):
                self.before_the_update = self.waits["tolist"]
            return super().__torch_dispatch__(func, *rest)

    step = hot_path.a_step(hot_path.a_learner(CENTERNET_TINY, None), hot_path.a_batch(2), Phase(1, 1))
    with Reads() as cost:
        step()
    assert (cost.before_the_update, cost.waits["tolist"]) == (0, 1)


def levels(count: int) -> list[DenseLevel]:
    heatmap = torch.zeros(2, 3, 4, 4)
    heatmap[0, 1, 2, 2] = 1
    return [DenseLevel(torch.randn(2, 8, 4, 4), torch.rand(2, 3, 4, 4), heatmap, Grid(8, 4)) for _ in range(count)]


def test_the_miners_wait_once_for_all_levels() -> None:
    for count in (1, 3):
        looked_at = levels(count)
        with HostCost() as cost:
            mine(looked_at, splg=SPLG(), pgcl=PGCL(top_m=4))
        assert cost.waits == Counter({"tolist": 1})


def test_reject_waits_no_oftener_alone_or_beside_the_other_miners() -> None:
    states = torch.tensor([[State.ABSENT, State.SOME, State.ABSENT], [State.UNKNOWN] * 3]).to(torch.int8)
    for others in ({}, {"splg": SPLG(), "pgcl": PGCL(top_m=4)}):
        looked_at = levels(3)
        with HostCost() as cost:
            mined = mine(looked_at, rejected_share=0.1, states=states, **others).mined
        assert cost.waits == Counter({"tolist": 1})
        assert all(one.rejected is not None and bool(one.rejected.any()) for one in mined)


@pytest.mark.parametrize("told", [False, True])
def test_nothing_waits_for_the_states_of_a_batch_that_was_loaded(*, told: bool) -> None:
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    states = torch.tensor([State.SOME, State.UNLABELLED if told else State.ABSENT]).to(torch.int8)
    with HostCost() as cost:
        unlabelled = unlabelled_classes([Target(*nothing, *nothing, states, told)])
    assert cost.synchronisations == 0
    assert (unlabelled is not None) == told


def test_judging_what_was_mined_waits_for_nothing_until_the_epoch_ends() -> None:
    mining = mine(levels(3), splg=SPLG(), pgcl=PGCL(top_m=4))
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    targets = [Target(boxes, torch.tensor([1]), boxes + 8, torch.tensor([1]))] * 2
    log = MiningLog()
    with HostCost() as cost:
        log.add(mining, targets)
        log.add(mining, targets)
    assert cost.synchronisations == 0
    assert log.metrics(1)["mining/pgcl_per_image"] == 2 * 3 * 4 / 4  # the image without annotations has none


class Elements(TorchDispatchMode):
    """Adds up the sizes of all tensors that are made."""

    made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        del types
        made = func(*args, **(kwargs or {}))
        self.made += made.numel() if isinstance(made, torch.Tensor) else 0
        return made


def test_the_work_of_judging_grows_with_the_batch_and_not_with_its_square() -> None:
    def work(images: int) -> int:
        judge, _ = hot_path.judged(images)
        with Elements() as elements:
            judge()
        return elements.made

    assert work(8) <= 4.2 * work(2)


@pytest.mark.parametrize("images", [2, 8])
def test_a_batch_goes_to_the_device_in_four_copies(images: int) -> None:
    assert hot_path.copy_figures(images) == {"copies": 4}


def test_a_copied_batch_has_the_boxes_of_each_image() -> None:
    none, boxes = torch.zeros(0, 4), torch.arange(12.0).view(3, 4)
    batch = hot_path.a_batch(3)
    states = torch.arange(15, dtype=torch.int8).view(3, 5) % 5
    targets = (
        Target(boxes[:1], torch.tensor([4]), boxes[1:], torch.tensor([2, 3]), states[0], True),
        Target(none, torch.tensor([], dtype=torch.long), none, torch.tensor([], dtype=torch.long), states[1], False),
        Target(boxes[1:], torch.tensor([1, 0]), boxes[:1], torch.tensor([4]), states[2], None),
    )
    # Another name of the same device, so that there is something to copy.
    copied = type(batch)(batch.images, targets, batch.image_ids, batch.to_original).to("cpu:0")
    assert len(copied.targets) == 3
    for one, other in zip(copied.targets, targets, strict=True):
        assert one.some_unlabelled is other.some_unlabelled
        tensors = {name: value for name, value in vars(one).items() if isinstance(value, torch.Tensor)}
        assert len(tensors) == 5
        assert all(torch.equal(value, getattr(other, name)) for name, value in tensors.items())
    assert torch.equal(copied.images, batch.images)


def test_the_average_of_a_teacher_is_the_one_of_each_tensor_to_the_bit_in_two_operations() -> None:
    torch.manual_seed(0)
    student = build(CENTERNET_TINY, num_classes=3)
    teacher = Teacher(student)
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.add_(torch.randn(tensor.shape).to(tensor.dtype), alpha=3)
    for decay in (0.9996, 0.3, 0.0):
        theirs = student.state_dict()
        expected = {
            name: own.lerp(theirs[name], 1 - decay) if own.is_floating_point() else theirs[name].clone()
            for name, own in teacher.detector.state_dict().items()
        }
        with HostCost() as cost:
            teacher.follow(student, decay)
        assert all(torch.equal(expected[name], own) for name, own in teacher.detector.state_dict().items())
        assert 5 * cost.operations <= len(expected)


@pytest.fixture
def sole_worker(tmp_path: Path) -> Any:
    rendezvous = (tmp_path / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("sole_worker")
def test_averaging_statistics_takes_as_many_operations_for_many_layers_as_for_one() -> None:
    def operations(layers: int) -> int:
        model = torch.nn.Sequential(*(torch.nn.BatchNorm2d(width + 1) for width in range(layers)))
        statistics = running_statistics(model)
        assert len(statistics) == 2 * layers
        with HostCost() as cost:
            average_statistics(statistics, world_size=2)
        # The sum over the only worker there is, by two: means of 0 and variances of 1.
        for layer in model:
            assert layer.running_mean.tolist() == [0.0] * layer.num_features
            assert layer.running_var.tolist() == [0.5] * layer.num_features
        return cost.operations

    assert operations(20) == operations(1) <= 5


def test_a_list_of_places_is_counted_as_a_wait_and_a_known_number_of_places_is_not() -> None:
    values = torch.arange(6.0)
    asked: dict[str, tuple[Callable[[], object], int]] = {
        "a list": (lambda: values[[2, 0]], 1),
        "a slice": (lambda: values[1:3], 0),
        "a mask": (lambda: values[values > 2], 1),
        "nonzero": (values.nonzero, 1),
        "nonzero of a known number": (lambda: values.nonzero_static(size=5), 0),
        "fresh memory": (lambda: torch.empty(3), 0),
    }
    for name, (work, waits) in asked.items():
        with HostCost() as cost:
            work()
        assert cost.synchronisations == waits, name
