"""Who may import whom, and where each heavy library lives."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {
    "siod",
    "siod.comparison",
    "siod.errors",
    "siod.files",
    "siod.importance",
    "siod.json_file",
    "siod.outside",
    "siod.picture",
    "siod.price",
    "siod.registry",
    "siod.state",
    "siod.value",
    "siod.types",
}
LIBRARY = {"siod.ops", "siod.data", "siod.detectors", "siod.dminer", "siod.evaluation", "siod.methods"}

# A package may import itself, BASE, and what stands here.
MAY_IMPORT = {
    "siod.ops": set(),
    "siod.data": {"siod.ops"},
    "siod.completion": {"siod.data", "siod.evaluation"},
    "siod.detectors": {"siod.ops"},
    "siod.dminer": {"siod.ops"},
    "siod.evaluation": set(),
    "siod.methods": {"siod.ops", "siod.data", "siod.detectors"},
    "siod.training": LIBRARY,
    "siod.testing": LIBRARY | {"siod.training"},
    "siod.tracking": set(),
    "siod.tuning": LIBRARY | {"siod.training", "siod.tracking", "siod.completion"},
    "siod.studies": LIBRARY | {"siod.training", "siod.tuning"},
    "siod.reports": {"siod.tracking.records", "siod.completion", "siod.data.coco"},
    "siod.cli": LIBRARY
    | {"siod.completion", "siod.training", "siod.tracking", "siod.tuning", "siod.studies", "siod.reports"},
}

HOMES = {
    "ray": {
        "siod.training.worker",
        "siod.tuning.running.driver",
        "siod.tuning.running.watch",
        "siod.tuning.running.cluster",
        "siod.tuning.trials.ray_trial",
    },
    "optuna": {
        "siod.importance",
        "siod.reports.analysis.searched",
        "siod.tuning.searching.best",
        "siod.tuning.searching.proposing",
        "siod.tuning.searching.search",
    },
    "mlflow": {
        "siod.tracking.mlflow",
        "siod.tracking.trial_log",
        "siod.tracking.database",
        "siod.tracking.reading",
        "siod.tracking.connection",
    },
    "typer": {"siod.cli"},
    "datumaro": {"siod.data.formats.through_datumaro"},
    "jinja2": {"siod.reports.page", "siod.reports.review.page"},
    "matplotlib": {
        "siod.reports.figures.drawing",
        "siod.reports.figures.errors",
        "siod.reports.figures.study",
        "siod.reports.figures.gallery",
        "siod.reports.figures.points",
        "siod.reports.figures.search",
        "siod.reports.figures.data",
    },
    "pyarrow": {"siod.reports.tables.rows"},
    "pycocotools": set(),
}


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in (
        ("siod", "siod"),
        ("cli", "siod.cli"),
        ("studies", "siod.studies"),
        ("reports", "siod.reports"),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = path
    return found


@cache
def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


MODULES = modules()


def test_all_modules_are_looked_at() -> None:
    folders = ("siod", "cli", "studies", "reports")
    on_disk = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(MODULES) == len(on_disk)
    assert len(MODULES) >= 50


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module: str) -> None:
    package = package_of(module)
    allowed = BASE if module in BASE else BASE | {package} | MAY_IMPORT[package]
    own = {name for name in imported(MODULES[module]) if inside(name, "siod")}
    known = {name if name in MODULES else name.rpartition(".")[0] for name in own}
    wrong = {
        name
        for name in known
        if name not in BASE and not any(inside(name, entry) for entry in allowed if entry not in BASE)
    }
    assert wrong == set()


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_heavy_library_lives_in_its_named_files(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(inside(entry, library) for entry in imported(path))}
    assert {name for name in users if not any(inside(name, home) for home in HOMES[library])} == set()


def test_no_module_is_named_for_nothing() -> None:
    nameless = {"utils", "util", "common", "core", "helpers", "lib", "misc"}
    assert {name for name in MODULES if nameless & set(name.split("."))} == set()


def test_no_module_passes_four_hundred_lines() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_imports_go_round_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        own = {name if name in MODULES else name.rpartition(".")[0] for name in imported(path)}
        graph[module] = {name for name in own if name in MODULES} - {module}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def room_of(module: str) -> str:
    """The folder inside a package that a module lies in; a module beside the folders is a room of its own."""
    parts = module.split(".")
    return ".".join(parts[:3]) if len(parts) > 3 else module


def test_rooms_of_a_package_import_each_other_one_way() -> None:
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        own = {name if name in MODULES else name.rpartition(".")[0] for name in imported(path)}
        rooms = {room_of(name) for name in own if name in MODULES and package_of(name) == package_of(module)}
        graph.setdefault(room_of(module), set()).update(rooms - {package_of(module), room_of(module)})
    assert list(TopologicalSorter(graph).static_order())


# What says what is to be run, and the packages whose own files do; their rooms compute.
DECLARATIONS = {
    "siod.data.annotation_sets",
    "siod.data.source",
    "siod.data.transforms",
    "siod.training.experiment",
    "siod.training.phases",
    "siod.training.placement",
    "siod.training.presets",
    "siod.tuning.arms",
    "siod.tuning.settings",
    "siod.tuning.space",
    "siod.tuning.study",
}
OF_DECLARATIONS = {"siod.detectors", "siod.methods", "siod.dminer", "siod.studies", "siod.tuning.planning"}
# What detectors and methods from outside derive.
INTERFACES = {"siod.detectors.detector", "siod.methods.method"}


def test_declarations_are_read_without_torch() -> None:
    declared = DECLARATIONS | {name for name in MODULES if name.rpartition(".")[0] in OF_DECLARATIONS} - INTERFACES
    declared = {name for name in declared if MODULES[name].name != "__init__.py"}
    assert len(declared) >= 50
    assert loads("torch torchvision", *sorted(declared)) == ""


def test_a_study_is_driven_without_torch() -> None:
    """Its trials, in processes of their own, need it; the driver would wait for it, and hold half a gigabyte."""
    assert loads("torch", "siod.tuning.running.runner") == ""
    assert loads("torch", "siod.tuning.trials.ray_trial") == "siod.tuning.trials.ray_trial"


def test_workers_are_started_without_what_only_they_need() -> None:
    """The process of a trial whose workers are Ray Train's only waits for them."""
    assert loads("torchvision", "siod.tuning.trials.ray_trial", "siod.training.worker") == ""
    assert loads("torchvision", "siod.training.work") == "siod.training.work"


def loads(libraries: str, *modules: str) -> str:
    """Import modules in a new process; the first that loads one of the libraries, if any does."""
    code = """
import sys
from importlib import import_module
for name in sys.argv[2:]:
    import_module(name)
    if set(sys.argv[1].split()) & sys.modules.keys():
        print(name)
        break
"""
    command = [sys.executable, "-c", code, libraries, *modules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
