"""Agreement with the authors' released CenterNet code.

``tests/golden/reference_dminer.npz`` holds what that code returned on random inputs (torch 2.14.1, CPU,
float32), as arrays named ``case/name``; case d has an image without annotations.
``gaussian_radius.json`` has rows of height, width and radius.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from siod.detectors.centernet import OUTPUT_STRIDE_PX
from siod.detectors.networks.centernet import CenterNetDetector, CenterNetOutputs
from siod.detectors.zoo import CENTERNET_TINY
from siod.dminer.mining.pgcl import group_contrastive_loss, group_contrastive_terms
from siod.dminer.mining.prototypes import annotated_classes
from siod.dminer.mining.splg import mine_pseudo_heatmap
from siod.ops.boxes import from_centres_and_sizes
from siod.ops.focal import penalty_reduced_focal_loss, penalty_reduced_focal_terms
from siod.ops.heatmap import draw_heatmap, gaussian_radius

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = ("c", "d")
SPLG_SETTINGS = ((0.6, 1.0), (0.5, 1.0), (0.6, 1.1), (0.7, 0.9))
PGCL_SETTINGS = ((0.07, 128), (0.1, 64), (0.07, 16))


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "reference_dminer.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays}


def test_gaussian_radii() -> None:
    height, width, expected = torch.tensor(
        json.loads((GOLDEN / "gaussian_radius.json").read_text()), dtype=torch.float64
    ).T
    torch.testing.assert_close(gaussian_radius(height, width), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gaussian_radius(height.float(), width.float()), expected.float(), rtol=1e-5, atol=0)
    assert torch.equal(gaussian_radius(height.float(), width.float()).floor(), expected.floor().float())


@pytest.mark.parametrize("case", CASES)
def test_target_heatmaps(case: str, reference: dict[str, torch.Tensor]) -> None:
    boxes, expected = reference[f"{case}/boxes"], reference[f"{case}/heatmap"]
    corners = from_centres_and_sizes(boxes[:, 2:4], boxes[:, 4:6]).float()
    batch, classes, height, width = expected.shape
    drawn = draw_heatmap(corners, boxes[:, 1].long(), boxes[:, 0].long(), shape=(batch, classes, height, width))
    torch.testing.assert_close(drawn, expected, rtol=1e-6, atol=0)
    assert torch.equal(drawn == 1, expected == 1)


@pytest.mark.parametrize(("min_similarity", "scale"), SPLG_SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_pseudo_heatmaps(case: str, min_similarity: float, scale: float, reference: dict[str, torch.Tensor]) -> None:
    features, heatmap = reference[f"{case}/feat"], reference[f"{case}/heatmap"]
    name = f"{case}/splg_tsim{min_similarity}_eta{scale}"
    pseudo = mine_pseudo_heatmap(features, heatmap, min_similarity=min_similarity, scale=scale)
    torch.testing.assert_close(pseudo, reference[f"{name}/pseudo"], rtol=1e-5, atol=0)
    assert (pseudo > 0).sum() / len(features) == pytest.approx(reference[f"{name}/count_per_image"].item())
    assert (pseudo > 0).any()


@pytest.mark.parametrize(("temperature", "top_m"), PGCL_SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_group_contrastive_losses_gradients_and_selections(
    case: str, temperature: float, top_m: int, reference: dict[str, torch.Tensor]
) -> None:
    features = reference[f"{case}/feat"].clone().requires_grad_()
    scores, heatmap = reference[f"{case}/logit"].sigmoid(), reference[f"{case}/heatmap"]
    name = f"{case}/pgcl_tau{temperature}_m{top_m}"
    loss = group_contrastive_loss(features, scores, heatmap, top_m=top_m, temperature=temperature)
    loss.backward()
    torch.testing.assert_close(loss, reference[f"{name}/loss"].reshape(()), rtol=1e-5, atol=0)
    expected = reference[f"{name}/grad_feat"]
    torch.testing.assert_close(features.grad, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    _, selected = group_contrastive_terms(features, scores, heatmap, top_m=top_m, temperature=temperature)
    batch, classes, height, width = heatmap.shape
    mask = selected.mask(annotated_classes([heatmap])[0], (batch, classes, height, width))
    assert torch.equal(mask, reference[f"{name}/selected"] > 0)


@pytest.mark.parametrize("case", CASES)
def test_focal_losses(case: str, reference: dict[str, torch.Tensor]) -> None:
    scores, heatmap = reference[f"{case}/logit"].sigmoid(), reference[f"{case}/heatmap"]
    pseudo = reference[f"{case}/splg_tsim0.6_eta1.0/pseudo"]
    torch.testing.assert_close(
        penalty_reduced_focal_loss(scores, heatmap), reference[f"{case}/focal_gt"], rtol=1e-5, atol=0
    )
    with_pseudo = penalty_reduced_focal_terms(scores, heatmap, pseudo=pseudo).mean()
    torch.testing.assert_close(with_pseudo, reference[f"{case}/focal_splg"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_decoded_boxes(case: str, reference: dict[str, torch.Tensor]) -> None:
    outputs = CenterNetOutputs(
        features=reference[f"{case}/feat"],
        scores=reference[f"{case}/logit"].sigmoid(),
        size=reference[f"{case}/size"],
        offset=reference[f"{case}/offset"],
    )
    detections = CenterNetDetector(CENTERNET_TINY, num_classes=80).decode(outputs)
    expected = reference[f"{case}/decoded"]
    assert len(detections) == len(expected)
    for found, rows in zip(detections, expected, strict=True):
        torch.testing.assert_close(found.boxes_xyxy, rows[:, :4] * OUTPUT_STRIDE_PX, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(found.scores, rows[:, 4], rtol=1e-5, atol=0)
        assert torch.equal(found.labels, rows[:, 5].long())
