"""The methods that experiments know, and how settings become a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from siod.errors import closest
from siod.methods.annotated import AnnotatedOnly, AnnotatedOnlyMethod
from siod.methods.co_student import CoStudent, CoStudentMethod
from siod.methods.comining import CoMining, CoMiningMethod
from siod.methods.csd import CSD, CSDMethod
from siod.methods.mean_teacher import MeanTeacher, MeanTeacherMethod
from siod.methods.method import Method, MethodSpec
from siod.methods.teacher_student import TeacherStudent, TeacherStudentMethod
from siod.outside import is_same_class
from siod.value import first_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from siod.detectors.detector import Detector


class Kind(NamedTuple):
    """A method: its settings, and what makes it of them and of the detector that learns."""

    spec: type[MethodSpec]
    method: Callable[[Any, Detector], Method]


METHODS: dict[str, Kind] = {}


def add_method(spec: type[MethodSpec], method: Callable[[Any, Detector], Method]) -> None:
    """Make a method known to experiments; a module outside the package may do so when it is imported.

    Args:
        spec: Its settings; the default of ``kind`` is its name.
        method: Called with the settings and the detector that learns, on its device.

    Raises:
        ValueError: Other settings have that name. The same class of a module that is loaded anew takes its place.
    """
    name = spec.model_fields["kind"].default
    if name in METHODS and not is_same_class(METHODS[name].spec, spec):
        raise ValueError(f"method {name!r} is taken by {METHODS[name].spec.__name__}")
    METHODS[name] = Kind(spec, method)


add_method(AnnotatedOnly, AnnotatedOnlyMethod)
add_method(CSD, CSDMethod)
add_method(CoMining, CoMiningMethod)
add_method(TeacherStudent, TeacherStudentMethod)
add_method(MeanTeacher, MeanTeacherMethod)
add_method(CoStudent, CoStudentMethod)


def _of_its_kind(data: object) -> object:
    """Settings as plain data become those of the method they name."""
    if not isinstance(data, dict):
        return data
    name = data.get("kind")
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}{closest(str(name), METHODS)}")
    try:
        return METHODS[name].spec.model_validate(data)
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
    return Method(detector) if spec is None else METHODS[spec.kind].method(spec, detector)
