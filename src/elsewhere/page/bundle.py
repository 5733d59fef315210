"""The page's scripts as one classic script, for exported pages, reports and widgets: there, modules cannot be loaded.

The modules in `page/` import one another by `import { a, b } from "./name.js";` on one line, and export by `export
function`, `export async function`, `export class` or `export const` at the start of a line.
"""

from __future__ import annotations

import posixpath
import re
from importlib.resources import files

PAGE = files("elsewhere.page")
IMPORT = re.compile(r'^import \{([^}]*)\} from "((?:\./|\.\./)[\w/]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?function|class|const) (\w+)", re.MULTILINE)


def read(name: str) -> str:
    """The text of a file of the page."""
    return PAGE.joinpath(*name.split("/")).read_text("utf-8")


def bundle(entry: str) -> str:
    """A script that defines `elsewhere`, an object with the exports of a module.

    Args:
        entry: file in `page/`, such as "mosaic.js".

    Raises:
        ValueError: modules that import one another in a circle, or by another form of import.
    """
    order: list[str] = []
    _collect(entry, order, ())
    parts = [_wrapped(name) for name in order]
    return (
        "const elsewhere = (() => {\nconst modules = {};\n"
        + "\n".join(parts)
        + f'\nreturn modules["{entry}"];\n}})();\n'
    )


def _collect(name: str, order: list[str], path: tuple[str, ...]) -> None:
    if name in path:
        raise ValueError(f"modules import one another in a circle: {' -> '.join((*path, name))}")
    if name in order:
        return
    for _, imported in IMPORT.findall(read(name)):
        _collect(_resolve(name, imported), order, (*path, name))
    order.append(name)


def _resolve(name: str, imported: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), imported))


def _wrapped(name: str) -> str:
    def constants(found: re.Match[str]) -> str:
        return f'const {{{found[1].replace(" as ", ": ")}}} = modules["{_resolve(name, found[2])}"];'

    body = IMPORT.sub(constants, read(name))
    exported = [match for _, match in EXPORT.findall(body)]
    body = EXPORT.sub(r"\1 \2", body)
    left = re.search(r"^(import|export)\b.*", body, re.MULTILINE)
    if left:
        raise ValueError(f"{name}: this form cannot be bundled: {left[0]}")
    return f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {", ".join(exported)} }};\n}})();'
