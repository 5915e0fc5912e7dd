# ruff: noqa: T201  (a benchmark prints its table)
"""Training images per second and core, next to plain torchvision v2 transforms; and how much of a batch is padding.

Run: ``python tests/benchmarks/bench_loader.py [--images 64]``. Both decode the same photographs (640 x 480 px, JPEG of
quality 90, seven boxes each), zoom by 0.6 to 1.3, cut or pad to 512 x 512, mirror, change brightness, contrast,
saturation and lighting, move the boxes and make batches of 16, in one process and one thread. They take turns; the
table shows each one's best round in processor time, which other work on the machine does not count towards.

The last table decodes nothing: photographs of 640 x 480 px, a quarter of them turned, are drawn as for FCOS, RetinaNet
and Faster R-CNN on COCO, and pixels in padded batches are divided by those of the images' own inputs. Once as of commit
94b8280: any images share a batch, and each worker pads to the largest of its own; once with images of like shape in one
batch, which all workers pad alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from siod.data import coco
from siod.data.annotation_sets import Full
from siod.data.images import decode_rgb
from siod.data.instance_table import train_table
from siod.data.loading.loader import Packed, TrainImages, largest, train_batches
from siod.data.loading.order import EpochShares, Share
from siod.data.loading.pixels import as_tensor, change_colour, mean_rgb, warp_image
from siod.data.source import CocoFiles, PreparedData, prepare
from siod.data.transforms import CENTERNET_AUGMENTATION, SHORT_EDGE_AUGMENTATION, draw_colour, draw_geometry, warp_boxes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siod.data.loading.order import Key

BATCH, BOXES, ROUNDS = 16, 7, 5
WIDTH, HEIGHT = 640, 480
SIZE = 512
PADDED_IMAGES = 6_000


def write_images(folder: Path, count: int) -> PreparedData:
    """Photographs with boxes, as a COCO data set."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    images, annotations = [], []
    for place in range(count):
        left, top = rng.integers(0, 80, 2).tolist()
        crop = photographs[place % 2].crop((left, top, left + 540, top + 340)).resize((WIDTH, HEIGHT))
        crop.save(folder / f"{place}.jpg", quality=90)
        images.append({"id": place, "file_name": f"{place}.jpg", "width": WIDTH, "height": HEIGHT})
        for box in rng.uniform(20, 200, (BOXES, 4)).tolist():
            annotations.append({"id": len(annotations), "image_id": place, "category_id": 1, "bbox": box})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    path = folder / "instances.json"
    coco.write(path, document)
    source = CocoFiles(train_annotations=path, train_images=folder, val_annotations=path, val_images=folder)
    return prepare(source, Full(), folder / "cache", check_images="off")


class Lighting(torch.nn.Module):
    """The change along ImageNet's principal colours, which v2 lacks, as one addition."""

    def forward(self, image: Any, target: Any) -> tuple[Any, Any]:
        """Add three numbers to all pixels."""
        shift = torch.randn(3)[:, None, None] * 5
        return (image.float() + shift).clamp_(0, 255).to(torch.uint8), target


class PlainImages(Dataset[Any]):
    """The same work, put together from torchvision's parts as its detection examples do."""

    def __init__(self, data: PreparedData, decode: Callable[[Path], torch.Tensor]) -> None:
        self.table = train_table(data)
        self.decode = decode
        self.transform = v2.Compose(
            [
                v2.ScaleJitter((SIZE, SIZE), scale_range=(0.6, 1.3), antialias=True),
                v2.RandomCrop(SIZE, pad_if_needed=True),
                v2.RandomHorizontalFlip(0.5),
                v2.ColorJitter(0.4, 0.4, 0.4),
                Lighting(),
                v2.SanitizeBoundingBoxes(),
            ]
        )

    def __len__(self) -> int:
        """How many images."""
        return len(self.table)

    def __getitem__(self, index: int) -> Any:
        """One image and its target."""
        rows = self.table.rows(index)
        corners = torch.from_numpy(self.table.boxes_xyxy[rows])
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(HEIGHT, WIDTH))
        image = tv_tensors.Image(self.decode(self.table.folder / self.table.images[index].file_name))
        return self.transform(image, {"boxes": boxes, "labels": torch.from_numpy(self.table.labels[rows])})


def with_pillow(path: Path) -> torch.Tensor:
    """What ``v2.PILToTensor`` gives."""
    with Image.open(path) as file:
        return v2.functional.pil_to_tensor(file.convert("RGB"))


def with_torchvision(path: Path) -> torch.Tensor:
    """torchvision's own JPEG path."""
    return decode_jpeg(torch.from_numpy(np.fromfile(path, np.uint8)), mode=ImageReadMode.RGB)


def collate(samples: list[Any]) -> tuple[torch.Tensor, list[Any]]:
    """A batch."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]


def run_siod(data: PreparedData, epoch: int) -> int:
    """An epoch; returns the number of images. Nothing is remembered from epoch to epoch."""
    train_table(data)
    batches = train_batches(data, CENTERNET_AUGMENTATION, batch_size=BATCH, seed=0, epoch=epoch)
    batches._dataset.pixels._kept = None
    return sum(len(batch.images) for batch in batches)


def run_plain(images: PlainImages) -> int:
    """An epoch; returns the number of images."""
    return sum(len(batch[0]) for batch in DataLoader(images, BATCH, shuffle=True, drop_last=True, collate_fn=collate))


def stages(data: PreparedData) -> dict[str, float]:
    """Milliseconds per image of each step of siod's pipeline."""
    table, taken = train_table(data), dict.fromkeys(("decode", "resize, mirror, cut", "colour", "boxes", "batch"), 0.0)
    dataset = TrainImages(table, CENTERNET_AUGMENTATION, keep=False)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        made = work()
        taken[name] += 1e3 * (time.process_time() - began) / len(table)
        return made

    samples = []
    for index, record in enumerate(table.images):
        rng = np.random.default_rng(index)
        geometry = draw_geometry(CENTERNET_AUGMENTATION, rng, HEIGHT, WIDTH)
        pixels = timed("decode", lambda record=record: as_tensor(decode_rgb(table.folder / record.file_name)))
        warped = timed("resize, mirror, cut", lambda pixels=pixels, geometry=geometry: warp_image(pixels, geometry))
        timed(
            "colour",
            lambda warped=warped, rng=rng: change_colour(
                warped, *draw_colour(CENTERNET_AUGMENTATION, rng, mean_rgb(warped))
            ),
        )
        boxes = table.boxes_xyxy[table.rows(index)]
        timed("boxes", lambda boxes=boxes, geometry=geometry: warp_boxes(boxes, geometry))
        samples.append(dataset.sample((0, 0, index)))
        if len(samples) == BATCH:
            timed("batch", lambda samples=samples: Packed.of(samples, (SIZE, SIZE)).unpack())
            samples = []
    return taken


def turned_or_not(key: Key) -> tuple[int, int]:
    """Height and width of an image's input; every fourth is higher than wide."""
    size = (WIDTH, HEIGHT) if key[2] % 4 == 0 else (HEIGHT, WIDTH)
    return draw_geometry(SHORT_EDGE_AUGMENTATION, np.random.default_rng(key), *size).input_size


def computed_over_needed(each: int, workers: int, *, grouped: bool) -> float:
    """Pixels in padded batches of ``each`` images a worker, over those of the images' own inputs."""

    def shares(rank: int) -> EpochShares:
        shape = turned_or_not if grouped else None
        return EpochShares(0, 1, PADDED_IMAGES, each * workers, rank=rank, world_size=workers, shape=shape)

    def padded_to(share: Share) -> Sequence[Key]:
        return share.batch if grouped else share.mine

    computed = needed = 0
    for share in (share for rank in range(workers) for share in shares(rank)):
        height, width = largest(map(turned_or_not, padded_to(share)))
        computed += len(share.mine) * height * width
        needed += sum(h * w for h, w in map(turned_or_not, share.mine))
    return computed / needed


def print_padding() -> None:
    """Print the last table."""
    print("\n| images a worker | workers | computed / needed at 94b8280 | grouped |\n| ---: | ---: | ---: | ---: |")
    for each, workers in ((2, 1), (2, 8), (4, 1), (4, 2), (4, 3), (4, 4), (16, 1)):
        before, after = (computed_over_needed(each, workers, grouped=grouped) for grouped in (False, True))
        print(f"| {each} | {workers} | {before:.2f} | {after:.3f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64, help="A multiple of 16.")
    count = parser.parse_args().images
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*TorchVision are deprecated")
    with tempfile.TemporaryDirectory() as temporary:
        data = write_images(Path(temporary), count)
        plain, native = PlainImages(data, with_pillow), PlainImages(data, with_torchvision)
        ways: dict[str, Callable[[int], int]] = {
            "siod": lambda epoch: run_siod(data, epoch),
            "torchvision v2, Pillow": lambda _: run_plain(plain),
            "torchvision v2, its own decoder": lambda _: run_plain(native),
        }
        best = dict.fromkeys(ways, float("inf"))
        for epoch in range(1, ROUNDS + 1):
            for name, way in ways.items():
                began = time.process_time()
                images = way(epoch)
                best[name] = min(best[name], (time.process_time() - began) / images)
        spent = [stages(data) for _ in range(ROUNDS)]
    print("| | images/s per core | ms per image | siod = 1 |\n| --- | ---: | ---: | ---: |")
    for name, seconds in best.items():
        print(f"| {name} | {1 / seconds:.0f} | {1e3 * seconds:.2f} | {seconds / best['siod']:.2f} |")
    print("\n| step of siod's | ms per image |\n| --- | ---: |")
    for name in spent[0]:
        print(f"| {name} | {min(row[name] for row in spent):.2f} |")
    print_padding()


if __name__ == "__main__":
    main()
