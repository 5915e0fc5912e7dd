"""The methods that experiments know, and how settings become a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from siod.methods.annotated import AnnotatedOnly
from siod.methods.co_student import CoStudent
from siod.methods.comining import CoMining
from siod.methods.csd import CSD
from siod.methods.mean_teacher import MeanTeacher
from siod.methods.spec import MethodSpec
from siod.methods.teacher_student import TeacherStudent
from siod.registry import Registry
from siod.value import first_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.detector import Detector
    from siod.methods.method import Method

METHODS: Registry[MethodSpec] = Registry("method", "kind")
METHODS.add(AnnotatedOnly, "siod.methods.steps.annotated:AnnotatedOnlyMethod")
METHODS.add(CSD, "siod.methods.steps.csd:CSDMethod")
METHODS.add(CoMining, "siod.methods.steps.comining:CoMiningMethod")
METHODS.add(TeacherStudent, "siod.methods.steps.teacher_student:TeacherStudentMethod")
METHODS.add(MeanTeacher, "siod.methods.steps.mean_teacher:MeanTeacherMethod")
METHODS.add(CoStudent, "siod.methods.steps.co_student:CoStudentMethod")


def add_method(spec: type[MethodSpec], method: Callable[[Any, Detector], Method]) -> None:
    """Make a method known to experiments; a module outside the package may do so when it is imported.

    Args:
        spec: Its settings; the default of ``kind`` is its name.
        method: Called with the settings and the detector that learns, on its device.

    Raises:
        ValueError: Other settings have that name. The same class of a module that is loaded anew takes its place.
    """
    METHODS.add(spec, method)


def _of_its_kind(data: object) -> object:
    """Settings as plain data become those of the method they name."""
    if not isinstance(data, dict):
        return data
    spec = METHODS.spec_of(data.get("kind"))
    try:
        return spec.model_validate(data)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


AnyMethod = Annotated[SerializeAsAny[MethodSpec] | None, BeforeValidator(_of_its_kind)]
"""The settings of a method, told apart by ``kind``, or None for training without one."""


def build_method(spec: MethodSpec | None, detector: Detector) -> Method:
    """Make a method ready for a run.

    Args:
        spec: Its settings, of a known kind; None for training without a method.
        detector: What learns, with its initial weights, on its device.

    Returns:
        The method at the start of a run.
    """
    if spec is None:
        from siod.methods.method import Method  # noqa: PLC0415  (loads torch)

        return Method(detector)
    method: Method = METHODS.make(spec, detector)
    return method
