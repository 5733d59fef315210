"""The import graph: no circles, and no module imports one of a higher floor.

The graph is read from the source with `ast`. It has the imports inside functions as well, as they can make a circle at
run time. Imports under `if TYPE_CHECKING:` never run, so they cannot make a circle at run time; they count for floors.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "elsewhere"

FLOORS: tuple[tuple[str, ...], ...] = (
    # The package itself only holds the version and finds the public names when they are first used.
    ("elsewhere", "files", "gradients", "layout", "limits", "notices", "optional", "phrases", "progress", "workload"),
    ("stopping", "tensor_files", "wording"),
    ("checks",),
    ("entropy",),
    ("schedulers",),
    ("pixel_values", "schedules", "text"),
    ("page", "pictures"),
    ("denoiser", "display"),
    ("deepinv_denoiser", "guidance", "inpainting", "operators", "samplers", "sampling", "testing"),
    ("data",),
    ("engine",),
    ("machines",),
    ("cluster", "restoration"),
    ("networks",),
    ("latents",),
    ("prompts",),
    ("adapters", "best", "contenders", "factory"),
    ("steering",),
    ("analysis",),
    ("anomalies", "morphogenesis", "textures"),
    ("demo", "editing", "kept_edits", "results", "studio"),
    ("terminal",),
    ("cli",),
    ("__main__",),
)
"""Modules and sub-packages from the bottom to the top. A module may import from its own floor and from those below."""


@dataclass(frozen=True)
class Import:
    """One import of a module of the package by another."""

    importer: str
    imported: str
    line: int
    runs: bool


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def lazy_names(path: Path) -> dict[str, str]:
    """Public name -> sub-module, of the names that the package imports when they are first used (`_HOMES`)."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_HOMES" for t in node.targets):
            return {name: home for home, names in ast.literal_eval(node.value).items() for name in names}
    return {}


def import_graph(package: Path = PACKAGE) -> list[Import]:
    """Every import between modules of the package."""
    known = modules(package)
    root = package.name
    lazy = lazy_names(known[root])
    found = []

    def target(module: str, name: str) -> str | None:
        if f"{module}.{name}" in known:
            return f"{module}.{name}"
        if module == root and name in lazy:
            return f"{root}.{lazy[name]}"
        return module if module in known else None

    def walk(importer: str, node: ast.AST, runs: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from walk(importer, child, False)
            for child in node.orelse:
                yield from walk(importer, child, runs)
            return
        names: list[str | None] = []
        if isinstance(node, ast.Import):
            names = [alias.name if alias.name in known else None for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{importer}:{node.lineno} has a relative import, which this test does not resolve"
            names = [target(node.module or "", alias.name) for alias in node.names]
        yield from (Import(importer, name, node.lineno, runs) for name in names if name and name != importer)
        for child in ast.iter_child_nodes(node):
            yield from walk(importer, child, runs)

    for name, path in known.items():
        found += list(walk(name, ast.parse(path.read_text(encoding="utf-8")), True))
    return found


def packages_of(module: str) -> list[str]:
    """The packages that a module is in: "a.b.c" is in "a" and "a.b"."""
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def circle(imports: list[Import]) -> list[str] | None:
    """The modules of an import circle, or None.

    Importing a module runs the `__init__` of its packages first, except those that the importer is in itself.
    """
    graph: dict[str, set[str]] = {}
    for one in imports:
        if one.runs:
            also = set(packages_of(one.imported)) - {one.importer, *packages_of(one.importer)}
            graph.setdefault(one.importer, set()).update({one.imported} | also)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def floor(module: str) -> int:
    """Number of a module's floor, from the bottom."""
    name = [*module.split("."), "elsewhere"][1]
    for number, names in enumerate(FLOORS):
        if name in names:
            return number
    raise AssertionError(f"{module} is on no floor: add {name!r} to FLOORS")


def upward(imports: list[Import]) -> list[str]:
    """The imports of modules on higher floors. The package's own list of public names is exempt."""
    return [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in imports
        if floor(one.imported) > floor(one.importer) and (one.importer != "elsewhere" or one.runs)
    ]


def test_there_are_no_import_circles() -> None:
    assert circle(import_graph()) is None


def test_no_module_imports_from_a_higher_floor() -> None:
    assert upward(import_graph()) == []


def test_every_module_is_found_and_has_a_floor() -> None:
    names = modules(PACKAGE)
    assert {"elsewhere", "elsewhere.analysis", "elsewhere.analysis.auditing", "elsewhere.engine"} <= set(names)
    assert all(floor(name) >= 0 for name in names)
    assert sum(len(names) for names in FLOORS) == len({name for names in FLOORS for name in names})


CIRCLES = {
    "at module level": {"a": "from elsewhere import b", "b": "import elsewhere.a"},
    "inside a function": {"a": "from elsewhere.b import x", "b": "def f():\n    from elsewhere.a import y"},
    "through a lazy name": {"a": "from elsewhere.b import x", "b": "from elsewhere import compare"},
    "through a package": {"p/__init__": "from elsewhere.b import x", "p/q": "", "b": "import elsewhere.p.q"},
}


def write_package(folder: Path, sources: dict[str, str]) -> Path:
    package = folder / "elsewhere"
    for name, source in {"__init__": '_HOMES = {"a": ("compare",)}', **sources}.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize("kind", CIRCLES)
def test_circles_of_every_kind_are_seen(tmp_path: Path, kind: str) -> None:
    assert circle(import_graph(write_package(tmp_path, CIRCLES[kind]))) is not None


def test_imports_for_types_are_no_circle_but_have_a_direction(tmp_path: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from elsewhere.machines import x"
    sources = {"checks": guarded, "machines": "import elsewhere.checks"}
    found = import_graph(write_package(tmp_path, sources))
    assert circle(found) is None
    assert upward(found) == ["elsewhere.checks:3 imports elsewhere.machines"]
