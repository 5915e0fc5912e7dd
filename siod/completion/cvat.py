"""Annotated and proposed boxes for CVAT, in its own format for images, version 1.1.

CVAT notes of every shape that it imports that it comes from a file, whatever ``source`` says. So proposals have
attributes, which the labels of the task must have too: those it does not know are dropped.

Source: https://docs.cvat.ai/docs/other/xml_format, and ``load_anno`` of ``cvat/apps/dataset_manager/formats/cvat.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siod.completion.shown import ShownBox, ShownImage

ATTRIBUTES = {"proposed": ("checkbox", "false"), "score": ("text", ""), "fdr": ("text", "")}
"""Of every label, with the kind of each and its value where a shape has none."""
END = "</annotations>\n"
DIGITS = 4
"""Of coordinates; CVAT itself writes two."""


def cvat_labels(names: Sequence[str]) -> list[dict[str, Any]]:
    """What the raw label editor of a CVAT task takes.

    Args:
        names: Of the categories.
    """
    attributes = [
        {"name": name, "mutable": False, "input_type": kind, "default_value": default, "values": [default]}
        for name, (kind, default) in ATTRIBUTES.items()
    ]
    return [{"name": name, "attributes": attributes} for name in names]


def cvat_start(names: Sequence[str]) -> str:
    """The file up to its first image; :data:`END` follows the last one.

    Args:
        names: Of the categories.
    """
    attributes = "".join(
        f"<attribute><name>{name}</name><mutable>False</mutable><input_type>{kind}</input_type>"
        f"<default_value>{default}</default_value><values>{default}</values></attribute>"
        for name, (kind, default) in ATTRIBUTES.items()
    )
    labels = "".join(
        f"<label><name>{escape(name)}</name><attributes>{attributes}</attributes></label>\n" for name in names
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f"<mode>annotation</mode><labels>\n{labels}</labels></task></meta>\n"
    )


def cvat_image(image: ShownImage) -> str:
    """An image and its boxes; crowds, which CVAT does not know, are left out.

    Args:
        image: In the frame it is shown in, as CVAT turns images too.
    """
    width, height = image.size
    start = f'<image id="{image.record.id}" name={quoteattr(image.record.file_name)} width="{width}" height="{height}">'
    return "\n".join((start, *(_box(box) for box in image.objects()), "</image>\n"))


def _box(box: ShownBox) -> str:
    x1, y1, x2, y2 = (round(corner, DIGITS) for corner in box.corners)
    source = "manual" if box.proposal is None else "auto"
    attributes = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in box.attributes().items())
    return (
        f'<box label={quoteattr(box.name)} source="{source}" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" '
        f'z_order="0">{attributes}</box>'
    )
