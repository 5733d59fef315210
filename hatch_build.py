"""Compile the kernels, one library for each level of processor; without a C compiler the package works too, slower."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("src/elsewhere/engine/kernels")


class Hook(BuildHookInterface[Any]):
    """Called by hatchling before a wheel is built or the package is installed as editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        build = load_build(Path(self.root))
        made = build.compile_levels(build.wanted())
        if not made:
            print("elsewhere: without compiled kernels machines are several times slower", file=sys.stderr)
            return
        build_data["artifacts"] += [str(KERNELS / path.name) for path in made]
        build_data["pure_python"] = False
        # No library uses Python's own interface: one wheel serves every version of Python.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def load_build(root: Path) -> ModuleType:
    """kernels/build.py of a checkout, by its path: elsewhere itself is not installed yet."""
    spec = importlib.util.spec_from_file_location("build_kernels", root / KERNELS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
