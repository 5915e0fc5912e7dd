"""An experiment refuses what it does not know, and its identity is what it would learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from siod.data.transforms import Augmentation, ShortEdge
from siod.detectors.zoo import FASTER_RCNN_TINY
from siod.dminer.dminer import DMiner, Staged
from siod.dminer.pgcl import PGCL
from siod.dminer.reject import Reject
from siod.dminer.splg import SPLG
from siod.errors import UserError
from siod.training.experiment import SGD, Evaluation, Experiment
from siod.training.phases import phases, total_epochs
from siod.training.presets import (
    DIGITS_DMINER,
    DIGITS_FPN_DMINER,
    FCOS_1X,
    PAPER_DMINER,
    PAPER_FPN_DMINER,
    PAPER_R18,
    PAPER_R101,
    RETINANET_1X,
    coco_centernet_r18,
    coco_centernet_r101,
    coco_d_fine_r50,
    coco_faster_rcnn_r50_c4,
    coco_fcos_r50_fpn,
    coco_retinanet_r50_fpn,
    coco_rt_detr_r50,
    digits_centernet,
    digits_d_fine,
    digits_fcos,
    digits_retinanet,
    digits_rt_detr,
)


def test_the_paper_s_recipes_are_those_of_section_4_1() -> None:
    assert (PAPER_R18.epochs, PAPER_R18.batch_size, PAPER_R18.learning_rate) == (140, 114, 5e-4)
    assert (PAPER_R101.epochs, PAPER_R101.batch_size, PAPER_R101.learning_rate) == (140, 96, 3.75e-4)
    assert PAPER_R18.schedule == PAPER_R101.schedule
    assert PAPER_R18.schedule.model_dump() == {"kind": "step", "milestones": (90, 120), "factor": 0.1}
    assert PAPER_DMINER.splg == SPLG(min_similarity=0.6, scale=1.0)
    assert PAPER_DMINER.pgcl == PGCL(top_m=128, temperature=0.07, weight=0.1)


def test_coco_experiments_carry_the_paper_s_backbone_and_recipe() -> None:
    assert coco_centernet_r18(Path("coco")).recipe == PAPER_R18
    assert coco_centernet_r101(Path("coco")).recipe == PAPER_R101
    assert coco_centernet_r101(Path("coco")).detector.backbone == "resnet101"


def test_coco_experiments_are_made_for_gpus_and_digits_ones_stay_float32() -> None:
    every = (coco_centernet_r18, coco_centernet_r101, coco_fcos_r50_fpn, coco_retinanet_r50_fpn)
    for preset in (*every, coco_rt_detr_r50, coco_d_fine_r50):
        experiment = preset(Path("coco"))
        assert (experiment.recipe.precision, experiment.evaluated_in()) == ("bf16", "bf16")
        assert 1 < experiment.evaluation.every_epochs <= experiment.recipe.epochs // 4
        asked = experiment.with_changes({"recipe.precision": "fp16"})
        assert asked.evaluated_in() == "fp16"
    for digits in (digits_centernet(), digits_fcos(), digits_retinanet(), digits_rt_detr(), digits_d_fine()):
        assert (digits.recipe.precision, digits.evaluated_in(), digits.evaluation.every_epochs) == ("fp32", "fp32", 1)


def test_detectors_that_decode_queries_have_the_recipes_of_their_official_code() -> None:
    rt_detr, d_fine = coco_rt_detr_r50(Path("coco")).recipe, coco_d_fine_r50(Path("coco")).recipe
    for recipe, rate, of_backbone, decay in ((rt_detr, 1e-4, 1e-5, 1e-4), (d_fine, 2.5e-4, 1.25e-5, 1.25e-4)):
        assert (recipe.optimiser.kind, recipe.epochs, recipe.clip_norm) == ("adamw", 72, 0.1)
        assert (recipe.learning_rate, recipe.weight_decay) == (rate, decay)
        assert recipe.learning_rate * recipe.backbone_factor == pytest.approx(of_backbone)
    assert (rt_detr.batch_size, d_fine.batch_size) == (16, 32)
    assert coco_d_fine_r50(Path("coco")).augmentation.input_size == (640, 640)


def test_a_wrong_path_is_answered_with_the_closest_name() -> None:
    experiment = digits_centernet().with_changes({"dminer": DIGITS_DMINER})
    with pytest.raises(
        UserError, match=r"unknown setting 'dminer\.splg\.min_simlarity'; did you mean 'min_similarity'"
    ):
        experiment.with_changes({"dminer.splg.min_simlarity": 0.7})
    with pytest.raises(UserError, match=r"setting 'dminer\.splg': its parent is None"):
        digits_centernet().with_changes({"dminer.splg": SPLG()})


def test_a_value_out_of_range_is_refused_with_its_place() -> None:
    with pytest.raises(UserError, match=r"recipe\.batch_size: Input should be greater than 0 \(received 0\)"):
        digits_centernet().with_changes({"recipe.batch_size": 0})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": {"kind": "coco_folder", "root": "coco"}}, "weights.kind digits needs data.kind digits"),
        ({"weights": {"kind": "published"}}, "weights.kind published needs data with COCO's categories"),
        ({"compute": {"workers": 9}}, "recipe.batch_size 8 is less than compute.workers 9: each worker needs an image"),
        ({"compute": {"workers": 2, "carrier": "in_process"}}, "carrier in_process runs one worker, not 2"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        digits_centernet().with_changes(changes)


def test_identity_counts_what_is_learnt_and_not_where() -> None:
    one = digits_centernet()
    assert one.identity("data") == digits_centernet().identity("data")
    assert one.identity("data") == one.with_changes({"compute.workers": 2}).identity("data")
    assert one.identity("data") != one.identity("other data")
    assert one.identity("data") != one.with_changes({"seed": 1}).identity("data")
    assert one.identity("data") != one.with_changes({"recipe.learning_rate": 1e-3}).identity("data")


def test_changes_stay_as_they_are_when_a_later_one_lies_inside_an_earlier_one() -> None:
    changes: dict[str, Any] = {"dminer": DIGITS_DMINER.model_dump(), "dminer.splg": None}
    before = deepcopy(changes)
    assert digits_centernet().with_changes(changes).dminer == DIGITS_DMINER.with_changes({"splg": None})
    assert changes == before


def test_settings_that_are_younger_than_a_run_do_not_change_its_identity() -> None:
    """The name was noted before there was a choice of optimisers or detectors."""
    assert digits_centernet().identity("fp") == "f2c221c58d25d886"
    sgd = digits_centernet().with_changes({"recipe.optimiser": SGD()})
    assert sgd.identity("fp") != digits_centernet().identity("fp")
    assert Experiment.model_validate_json(sgd.model_dump_json()) == sgd


def test_a_detector_is_of_the_family_it_names() -> None:
    two_stages = digits_centernet().with_changes({"detector": FASTER_RCNN_TINY})
    assert two_stages.detector == FASTER_RCNN_TINY
    assert Experiment.model_validate_json(two_stages.model_dump_json()) == two_stages
    with pytest.raises(UserError, match=r"detector: unknown family 'centrenet'; did you mean 'centernet'"):
        digits_centernet().with_changes({"detector.family": "centrenet"})
    with pytest.raises(UserError, match=r"detector\.head_channels: Input should be greater than 0"):
        digits_centernet().with_changes({"detector.head_channels": 0})
    with pytest.raises(UserError, match=r"dminer needs detector\.mining_branch"):
        two_stages.with_changes({"dminer": DIGITS_DMINER})
    with pytest.raises(UserError, match=r"dminer\.pgcl\.top_m must have one entry for each of the detector's 1 mined"):
        digits_centernet().with_changes({"dminer": DIGITS_DMINER.with_changes({"pgcl.top_m": (8, 4)})})


def test_an_experiment_survives_json() -> None:
    experiment = digits_centernet().with_changes({"dminer": DIGITS_DMINER})
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


def test_a_broken_experiment_file_gets_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "experiment.json"
    with pytest.raises(UserError, match=r"experiment\.json: No such file"):
        Experiment.read(path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"experiment\.json: not JSON \(line 1"):
        Experiment.read(path)
    data = json.loads(digits_centernet().model_dump_json())
    data["recipe"]["epoch"] = 3
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"unknown setting 'epoch' in Recipe; did you mean 'epochs'"):
        Experiment.read(path)
    path.write_text(digits_centernet().model_dump_json())
    assert Experiment.read(path) == digits_centernet()


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        digits_centernet().seed = 3  # type: ignore[misc]


def test_joint_training_is_one_phase_with_both_miners() -> None:
    experiment = digits_centernet().with_changes({"dminer": DIGITS_DMINER, "recipe.epochs": 6})
    (phase,) = phases(experiment)
    assert (phase.first_epoch, phase.last_epoch) == (1, 6)
    assert (phase.splg, phase.pgcl) == (DIGITS_DMINER.splg, DIGITS_DMINER.pgcl)


def test_without_dminer_no_miner_is_at_work() -> None:
    (phase,) = phases(digits_centernet())
    assert (phase.splg, phase.pgcl) == (None, None)


def test_staged_training_is_pgcl_then_splg_at_a_tenth() -> None:
    staged = DMiner(splg=SPLG(), pgcl=PGCL(), staged=Staged(second_epochs=2))
    experiment = digits_centernet().with_changes({"dminer": staged, "recipe.epochs": 4})
    first, second = phases(experiment)
    assert (first.first_epoch, first.last_epoch, first.splg, first.pgcl) == (1, 4, None, PGCL())
    assert (second.first_epoch, second.last_epoch, second.splg, second.pgcl) == (5, 6, SPLG(), None)
    assert second.lr_factor == pytest.approx(0.1)
    assert total_epochs(experiment) == 6


def test_a_miner_that_starts_later_is_absent_until_then() -> None:
    dminer = DMiner(splg=SPLG(start_epoch=2), pgcl=PGCL())
    (phase,) = phases(digits_centernet().with_changes({"dminer": dminer}))
    assert phase.at(2).splg is None
    assert phase.at(3).splg == SPLG(start_epoch=2)
    assert phase.at(1).pgcl == PGCL()


def test_reject_grows_over_both_stages_by_the_epochs_of_the_run() -> None:
    reject = Reject(max_share=0.05, growth=0.01, start_epoch=2)
    staged = DMiner(reject=reject, staged=Staged(second_epochs=3))
    first, second = phases(digits_centernet().with_changes({"dminer": staged, "recipe.epochs": 4}))
    assert [first.at(epoch).rejected_share for epoch in (1, 2, 3, 4)] == pytest.approx([0, 0, 0.01, 0.02])
    assert [second.at(epoch).rejected_share for epoch in (5, 6, 7)] == pytest.approx([0.03, 0.04, 0.05])
    assert (first.at(3).splg, second.at(5).pgcl) == (None, None)
    (joint,) = phases(digits_centernet().with_changes({"dminer": DMiner(reject=reject), "recipe.epochs": 4}))
    assert joint.at(4).rejected_share == pytest.approx(0.02)
    assert joint.at(4).splg is not None


def test_without_reject_no_share_is_rejected() -> None:
    (phase,) = phases(digits_centernet().with_changes({"dminer": DMiner()}))
    assert phase.at(9).rejected_share == 0


def test_the_recipes_of_the_pyramid_detectors_are_those_of_their_code() -> None:
    for recipe in (FCOS_1X, RETINANET_1X):
        assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.weight_decay) == (12, 16, 0.01, 1e-4)
        assert recipe.optimiser == SGD(momentum=0.9)
        assert recipe.schedule.model_dump().items() >= {"milestones": (8, 11), "factor": 0.1}.items()
    assert PAPER_FPN_DMINER.pgcl == PGCL(top_m=(96, 64, 32), temperature=0.07, weight=0.1)


@pytest.mark.parametrize("preset", [coco_fcos_r50_fpn, coco_retinanet_r50_fpn])
def test_the_pyramid_detectors_see_coco_by_the_short_edge(preset: Callable[[Path], Experiment]) -> None:
    experiment = preset(Path("coco")).with_changes({"dminer": PAPER_FPN_DMINER})
    assert experiment.augmentation.short_edge == ShortEdge(lengths=(640, 672, 704, 736, 768, 800), longest=1333)
    assert experiment.evaluation.short_edge == ShortEdge(lengths=(800,), longest=1333)
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    with pytest.raises(UserError, match="short_edge must have one length in evaluation"):
        experiment.with_changes({"evaluation.short_edge": ShortEdge()})


def test_batches_of_like_shapes_are_part_of_the_identity_and_batches_of_any_are_as_before() -> None:
    """The name was noted before there was a choice; the presets that were never run have chosen."""
    any_shape = digits_fcos().with_changes({"augmentation": Augmentation(short_edge=ShortEdge(lengths=(64, 96)))})
    assert any_shape.identity("fp") == "29d8f84a4dedaf14"
    assert any_shape.with_changes({"augmentation.group_shapes": True}).identity("fp") != any_shape.identity("fp")
    for preset in (coco_faster_rcnn_r50_c4, coco_fcos_r50_fpn, coco_retinanet_r50_fpn):
        assert preset(Path("coco")).model_dump(mode="json")["augmentation"]["group_shapes"] is True
    # That of the preset before it chose bf16 and to be judged every few epochs.
    in_fp32 = coco_centernet_r18(Path("coco")).with_changes({"recipe.precision": "fp32", "evaluation": Evaluation()})
    assert in_fp32.identity("fp") == "9ee748c8807e3301"


def test_the_paper_s_batch_is_shared_by_its_four_gpus() -> None:
    """114 images are 29, 29, 28 and 28."""
    experiment = coco_centernet_r18(Path("coco")).with_changes({"compute.workers": 4})
    assert experiment.recipe.batch_size == 114
    assert experiment.identity("fp") == coco_centernet_r18(Path("coco")).identity("fp")


@pytest.mark.parametrize("preset", [digits_fcos, digits_retinanet])
def test_the_small_pyramid_detectors_take_the_digit_classifier_of_centernet(preset: Callable[[], Experiment]) -> None:
    experiment = preset().with_changes({"dminer": DIGITS_FPN_DMINER})
    assert experiment.detector.backbone_identity() == digits_centernet().detector.backbone_identity()
    assert experiment.weights == digits_centernet().weights
