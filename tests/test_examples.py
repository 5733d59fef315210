"""The examples in the docstrings of all modules give the results that they show."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.test_imports import PACKAGE, modules

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", [name for name in modules(PACKAGE) if not name.endswith("__main__")])
def test_examples_give_what_they_show(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert found.failed == 0, f"{name}: see the output above"


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    examples = [
        test for name in ("sampling", "analysis.metrics") for test in finder.find(_module(name)) if test.examples
    ]
    assert {test.name.rpartition(".")[2] for test in examples} >= {"fixed_point", "mse"}


def _module(name: str) -> object:
    return importlib.import_module(f"elsewhere.{name}")
