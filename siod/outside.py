"""Python files from outside the package: a study's file, the neighbours it imports, and what they bring to the zoos.

The files are read once, as text, and every process loads that text: what travels to workers and to other nodes is what
was read, whatever becomes of the files meanwhile. Installed modules come first, so a neighbour never hides one.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib.abc import ExecutionLoader, MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siod.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# No name that a study's file may have is one of a module that is installed.
STUDY_PREFIX = "siod_study_"
PACKAGE_FILE = "__init__.py"


class Source(NamedTuple):
    """One file: the module it is, where it stands on the machine that read it, and its text."""

    name: str
    path: Path
    text: str


@dataclass(frozen=True)
class Sources:
    """A file and the neighbours that it and they import.

    Args:
        folder: Where they stand.
        files: By name of module.
    """

    folder: Path
    files: tuple[Source, ...]

    @classmethod
    def around(cls, file: Path, name: str) -> Sources:
        """Read a file and its neighbours, those that are imported inside functions included.

        Args:
            file: A Python file.
            name: Of its module, with the packages it is in.

        Raises:
            OSError: A file cannot be read.
            SyntaxError: A file is not Python.
        """
        file = file.absolute()
        folder = file.parents[name.count(".") + (file.name == PACKAGE_FILE)]
        found: dict[str, Source] = {}
        wanted = [(name, file)]
        while wanted:
            module, path = wanted.pop()
            if module in found:
                continue
            found[module] = Source(module, path, importlib.util.decode_source(path.read_bytes()))
            wanted += [entry for top in _imported(found[module]) for entry in _neighbour(folder, top)]
        return cls(folder, tuple(sorted(found.values())))

    def digest(self, name: str) -> str:
        """The SHA-256 of a module and what it imports of the files."""
        needed: set[Source] = set()
        wanted = [name.partition(".")[0]]
        while wanted:
            top = wanted.pop()
            fresh = {source for source in self.files if f"{source.name}.".startswith(f"{top}.")} - needed
            needed |= fresh
            wanted += [imported for source in fresh for imported in _imported(source)]
        return sha256(repr(sorted((source.name, source.text) for source in needed)).encode()).hexdigest()

    def load(self, name: str) -> ModuleType:
        """Import one of the modules, and by it those that it imports.

        Args:
            name: Of a module among the files.

        Returns:
            The module; the one that is there already where nothing has changed. Modules of equal names from other
            files are forgotten.
        """
        names = {source.name for source in self.files}
        others = [finder for finder in sys.meta_path if isinstance(finder, Loader) and finder.sources != self]
        for finder in others:
            if names & finder.names():
                sys.meta_path.remove(finder)
        for other in names:
            if sources_of(other) not in (None, self):
                del sys.modules[other]
        if not any(isinstance(finder, Loader) and finder.sources == self for finder in sys.meta_path):
            sys.meta_path.insert(0, Loader(self))
        return importlib.import_module(name)


class Loader(MetaPathFinder, ExecutionLoader):
    """Finds and loads the modules of some sources, and no others."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._files = {source.name: source for source in sources.files}

    def names(self) -> set[str]:
        """Of the modules."""
        return set(self._files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """How a module is loaded; None for those that are not among the sources."""
        del path, target
        source = self._files.get(fullname)
        return None if source is None else importlib.util.spec_from_file_location(fullname, source.path, loader=self)

    def is_package(self, fullname: str) -> bool:
        """Whether a module is the file of a package."""
        return self._files[fullname].path.name == PACKAGE_FILE

    def get_filename(self, fullname: str) -> str:
        """Where the file stands on the machine that read it."""
        return str(self._files[fullname].path)

    def get_source(self, fullname: str) -> str:
        """The text that was read."""
        return self._files[fullname].text


@dataclass(frozen=True)
class Brought:
    """A module from outside the package that makes settings known when it is imported.

    Args:
        module: Its name.
        sources: Its file and neighbours; None for an installed module.
    """

    module: str
    sources: Sources | None

    def load(self) -> None:
        """Import it.

        Raises:
            ImportError: It is not there.
        """
        if self.sources is None:
            importlib.import_module(self.module)
        else:
            self.sources.load(self.module)

    def record(self) -> dict[str, str]:
        """What a run writes down, to find the module again."""
        if self.sources is None:
            return {"module": self.module}
        (path,) = (source.path for source in self.sources.files if source.name == self.module)
        return {"module": self.module, "file": str(path), "sha256": self.sources.digest(self.module)}


def brought_by(*settings: object) -> tuple[Brought, ...]:
    """The modules from outside the package that define some settings.

    Args:
        settings: Of a detector, of a method, or a class of these, or None.

    Returns:
        Each module once.
    """
    names = dict.fromkeys(each.__module__ for each in settings if each is not None)
    return tuple(Brought(name, sources_of(name)) for name in names if name.partition(".")[0] != __package__)


def sources_of(name: str) -> Sources | None:
    """The sources that a loaded module came from; None for any other module."""
    loader = getattr(sys.modules.get(name), "__loader__", None)
    return loader.sources if isinstance(loader, Loader) else None


def is_same_class(one: type, other: type) -> bool:
    """Whether two classes are one that was loaded twice, or the same object."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def load_recorded(records: Sequence[Mapping[str, str]], *, source: str) -> list[str]:
    """Import again what brought a run its detector or method.

    Args:
        records: Of :meth:`Brought.record`.
        source: The run or checkpoint, for messages.

    Returns:
        The files that are not what they were.

    Raises:
        UserError: A file or module is gone, or cannot be loaded.
    """
    changed = []
    for record in records:
        made = _found_again(record, source)
        try:
            made.load()
        except Exception as error:
            raise UserError(
                f"{source}: its detector or method comes from {record.get('file', record['module'])}, which cannot be "
                f"loaded ({type(error).__name__}: {error})"
            ) from error
        if made.record() != dict(record):
            changed.append(record["file"])
    return changed


def _found_again(record: Mapping[str, str], source: str) -> Brought:
    if "file" not in record:
        return Brought(record["module"], None)
    file = Path(record["file"])
    if not file.is_file():
        raise UserError(f"{source}: its detector or method comes from {file}, which is not there; put the file back")
    try:
        return Brought(record["module"], Sources.around(file, record["module"]))
    except (OSError, SyntaxError) as error:
        raise UserError(f"{source}: {file}, which brought its detector or method, cannot be read ({error})") from error


def hiding(error: BaseException, folder: Path) -> Path | None:
    """The neighbour that was meant where an installed module of its name was imported instead, if that is the error.

    Args:
        error: Raised by an import.
        folder: Of the study's file.
    """
    top = (getattr(error, "name", None) or "").partition(".")[0]
    files = _files(folder, top) if top and sources_of(top) is None else []
    return next((path for name, path in files if name == top), None)


def _imported(source: Source) -> set[str]:
    """The first parts of the names that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.text, filename=str(source.path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def _neighbour(folder: Path, top: str) -> list[tuple[str, Path]]:
    """The modules that a name stands for in a folder, unless a module of that name is installed."""
    files = _files(folder, top)
    if not files or sources_of(top) is not None:
        return files
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return files if spec is None else []
    own = {path.resolve() for _, path in files}
    return files if Path(spec.origin).resolve() in own else []


def _files(folder: Path, top: str) -> list[tuple[str, Path]]:
    module, package = folder / f"{top}.py", folder / top
    if (package / PACKAGE_FILE).is_file():
        paths = sorted(package.rglob("*.py"))
    else:
        paths = [module] if module.is_file() else []
    return [(_name(path.relative_to(folder)), path) for path in paths]


def _name(path: Path) -> str:
    parts = path.parent.parts if path.name == PACKAGE_FILE else path.with_suffix("").parts
    return ".".join(parts)


def load_study_file(path: Path) -> ModuleType:
    """Run the file of a study, each time anew; its neighbours are imported once.

    Args:
        path: Of an existing Python file.

    Returns:
        Its module.
    """
    name = study_module(path)
    sources = Sources.around(path, name)
    sys.modules.pop(name, None)
    return sources.load(name)


def study_module(path: Path) -> str:
    """The name that a study's file has as a module.

    Example:
        >>> study_module(Path("my-cells.py"))
        'siod_study_my_cells'
    """
    return STUDY_PREFIX + re.sub(r"\W", "_", path.stem)
