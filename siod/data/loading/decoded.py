"""The decoded images of an instance table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siod.data.images import BrokenImageError, decode_record
from siod.data.loading.pixels import as_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from siod.data.instance_table import InstanceTable


class Pixels:
    """The decoded images of a table, kept in memory once seen if ``keep``."""

    def __init__(self, table: InstanceTable, *, keep: bool) -> None:
        self.table = table
        self._kept: dict[int, Tensor] | None = {} if keep else None

    def __getitem__(self, index: int) -> Tensor:
        """RGB, uint8 ``[3, H, W]``; not to be written to."""
        if self._kept is None:
            return _decoded(self.table, index)
        if index not in self._kept:
            self._kept[index] = _decoded(self.table, index)
        return self._kept[index]


def _decoded(table: InstanceTable, index: int) -> Tensor:
    image = table.images[index]
    if table.copies is None:
        return as_tensor(decode_record(table.folder, image))
    try:
        return as_tensor(decode_record(table.copies, image))
    except BrokenImageError as error:
        raise BrokenImageError(
            f"{table.folder / image.file_name}: its small copy is lost ({error}); "
            "delete all copies with siod data cache --clear and run again"
        ) from error
