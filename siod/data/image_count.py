"""How many images a data set has, long before it is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siod.data.digits import Digits
from siod.data.known_files import KnownFiles, content_of
from siod.data.source import locate
from siod.errors import UserError

if TYPE_CHECKING:
    from siod.data.source import Source


def count_training_images(source: Source, cache_dir: Path | None = None) -> int:
    """Count the training images of a source, without drawing, checking or reading more than that takes.

    Args:
        source: Where the data comes from.
        cache_dir: What is known of files is kept there; None reads the annotation file, whatever is known.

    Returns:
        The images its annotation file lists; 0 where that cannot be read: ``siod.data.source.prepare`` says why.

    Raises:
        UserError: A file or folder is missing.
    """
    if isinstance(source, Digits):
        return source.train_images
    path = locate(source, Path()).train_annotations
    try:
        return (content_of(path) if cache_dir is None else KnownFiles(cache_dir).content(path)).images
    except UserError:
        return 0
