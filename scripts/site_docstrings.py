"""A hook of MkDocs: every public name must be in the reference and have a docstring.

Public are the names in `__all__` of `elsewhere` and of its public modules, and their methods and properties without an
underscore. A method may have the docstring of the method that it overrides. Each gap is a warning, which ends a strict
build.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger

PACKAGE = "elsewhere"
log = get_plugin_logger("docstrings")


def on_config(config: MkDocsConfig) -> None:
    source = Path(config.config_file_path).parent / "src"
    for gap in gaps(source, Path(config.docs_dir)):
        log.warning(gap)


def gaps(source: Path, docs: Path) -> Iterator[str]:
    """What is missing, one sentence each."""
    package = griffe.load(PACKAGE, search_paths=[source], resolve_aliases=True, docstring_parser="google")
    documented: set[str] = set()
    bases: dict[str, str] = {}
    for page in sorted((docs / "reference").glob("*.md")):
        for path in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            found = _find(package, path)
            if found is None:
                continue  # mkdocstrings says so.
            shown = [found, *_members(found)]
            documented |= {each.canonical_path for each in shown}
            bases |= {base: each.path for each in shown if each.is_class for base in _bases(each)}
            yield from _without_docstring(found)
    for base, heir in sorted(bases.items()):
        if base not in documented:
            yield f"{heir} has methods of {base}, which is not in the reference: add `::: {base}` beside it"
    for path in sorted(_public(package, source)):
        found = _find(package, path)
        if found is None:
            yield f"{path} is public but cannot be found in {source}"
        elif found.canonical_path not in documented:
            yield f"{path} is public but not in the reference: add `::: {path}` to a page in docs/reference"


def _find(package: griffe.Module, path: str) -> griffe.Object | None:
    try:
        found = package[path.removeprefix(f"{PACKAGE}.")]
        return found.final_target if found.is_alias else found
    except (KeyError, griffe.AliasResolutionError):
        return None


def _members(found: griffe.Object) -> list[griffe.Object]:
    """The public members of a module or class."""
    if found.is_module and found.exports:
        exports = {str(name) for name in found.exports}
        members = [member for name, member in found.members.items() if name in exports]
    elif found.is_module:
        members = [member for member in found.members.values() if member.is_public and not member.is_alias]
    elif found.is_class:
        members = [member for name, member in found.members.items() if not name.startswith("_")]
    else:
        members = []
    return [member.final_target if member.is_alias else member for member in members]


def _bases(found: griffe.Class) -> list[str]:
    """The classes of the package from which a class has public members."""
    return [base.canonical_path for base in found.mro() if base.path.startswith(f"{PACKAGE}.") and _members(base)]


def _without_docstring(found: griffe.Object, owner: griffe.Class | None = None) -> Iterator[str]:
    described = found.has_docstring or (
        owner is not None
        and any(base.members[found.name].has_docstring for base in owner.mro() if found.name in base.members)
    )
    # What an attribute of a class is, stands in the docstring of the class.
    if not described and (owner is None or not found.is_attribute or "property" in found.labels):
        yield f"{found.path} has no docstring: {found.relative_filepath}:{found.lineno}"
    for member in _members(found):
        yield from _without_docstring(member, found if found.is_class else None)


def _public(package: griffe.Module, source: Path) -> set[str]:
    """The names that the package says are public."""
    names = {f"{PACKAGE}.{name}" for name in _exported(package, source)}
    sys.path.insert(0, str(source))
    try:
        modules = importlib.import_module(PACKAGE)._MODULES
    finally:
        sys.path.remove(str(source))
    return names | {f"{PACKAGE}.{module}.{name}" for module in modules for name in _exported(package[module], source)}


def _exported(module: griffe.Module, source: Path) -> list[str]:
    """`__all__` of a module, or what it defines without an underscore.

    Lists that are computed are known only after an import, which in these modules needs nothing but Python.
    """
    if "__all__" not in module.members or module.exports:
        return [member.name for member in _members(module)]
    sys.path.insert(0, str(source))
    try:
        return list(importlib.import_module(module.path).__all__)
    finally:
        sys.path.remove(str(source))
