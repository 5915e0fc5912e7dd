"""Whether annotations say enough for the pseudo boxes that a method is to find, asked before anything is trained."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from siod.data.instance_table import train_table
from siod.errors import UserError
from siod.methods.pseudo import PseudoBoxes
from siod.state import State

if TYPE_CHECKING:
    from siod.data.source import PreparedData
    from siod.training.experiment import Experiment


def refuse_pseudo_labels(experiment: Experiment, data: PreparedData) -> None:
    """Refuse clean pseudo boxes where nothing can be labelled, and estimates of false ones that nothing can be told by.

    Args:
        experiment: Its method may find pseudo boxes.
        data: Its prepared files.

    Raises:
        UserError: All instances are annotated, or no image surely lacks a category.
    """
    found = {name: value for name, value in experiment.method or () if isinstance(value, PseudoBoxes) and value.clean}
    if not found:
        return
    open_categories, absent_categories = _said_by(data)
    for name, pseudo in found.items():
        if not open_categories:
            raise UserError(
                f"method.{name}.clean: {data.train} has every instance of every category annotated, so that nothing is "
                "left to label; set method to null, or annotations to a policy that leaves boxes out"
            )
        if pseudo.max_fdr is not None and not absent_categories:
            raise UserError(
                f"method.{name}.max_fdr: {data.train} has no image that surely lacks a category, so that nothing tells "
                f"how many labels are false; set method.{name}.max_fdr to null and choose method.{name}.min_score"
            )


@lru_cache(maxsize=64)  # arms of a study share their data, and its fingerprint follows its content
def _said_by(data: PreparedData) -> tuple[bool, bool]:
    """Whether any category of any image may lack boxes, and whether any image surely lacks a category."""
    states = train_table(data).states
    return states is not None, states is not None and bool((states == State.ABSENT).any())
