"""Kinds of a thing by name: the settings of each, and what makes the thing of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from siod.errors import closest
from siod.outside import is_same_class
from siod.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

Spec = TypeVar("Spec", bound=Value)


class Kind(NamedTuple, Generic[Spec]):
    """One kind of a thing.

    ``maker`` is called with the settings; text, ``module:name``, is imported when the first one is made, so that
    settings can be read without torch.
    """

    spec: type[Spec]
    maker: Callable[..., Any] | str


class Registry(dict[str, Kind[Spec]]):
    """The known kinds of a thing, by name.

    Args:
        noun: What a kind is called in messages.
        field: Of the settings; its default is the name of their kind.
    """

    def __init__(self, noun: str, field: str) -> None:
        super().__init__()
        self.noun, self.field = noun, field

    def add(self, spec: type[Spec], maker: Callable[..., Any] | str) -> None:
        """Make a kind known.

        Args:
            spec: Its settings.
            maker: Called with the settings and what :meth:`make` is given; or ``module:name`` of what is.

        Raises:
            ValueError: Other settings have that name. The same class of a module that is loaded anew takes its place.
        """
        name = spec.model_fields[self.field].default
        if name in self and not is_same_class(self[name].spec, spec):
            raise ValueError(f"{self.noun} {name!r} is taken by {self[name].spec.__name__}")
        self[name] = Kind(spec, maker)

    def spec_of(self, name: object) -> type[Spec]:
        """The settings of a kind.

        Args:
            name: As plain data has it.

        Returns:
            Their class.

        Raises:
            ValueError: No kind has that name; the closest one is told.
        """
        if name not in self:
            raise ValueError(f"unknown {self.noun} {name!r}{closest(str(name), self)}")
        return self[str(name)].spec

    def make(self, spec: Spec, *others: Any) -> Any:
        """Make the thing that settings describe.

        Args:
            spec: Of a known kind.
            others: What its maker takes beside.

        Returns:
            What the maker makes.
        """
        maker = self[getattr(spec, self.field)].maker
        if isinstance(maker, str):
            module, _, name = maker.partition(":")
            maker = getattr(import_module(module), name)
        return maker(spec, *others)
