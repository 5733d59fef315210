"""Bad calls of everything public end in the right error, soon, and the error names the argument."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

for extra in ("diffusers", "scipy", "skimage", "accelerate", "pyarrow"):
    pytest.importorskip(extra)

from tests import bad_calls  # noqa: E402 (it imports the extras)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits time and memory as Linux does")

COUNT = 1000


def test_a_thousand_bad_calls_end_in_the_right_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = bad_calls.chosen(COUNT)
    assert len(cases) == COUNT
    with bad_calls.little_memory():
        faults = [f"{case}: {found}" for case in cases if (found := bad_calls.fault(case))]
    assert not faults, "\n".join(faults)


def test_every_parameter_of_everything_public_gets_bad_values():
    every = {(s.name, parameter) for s in bad_calls.subjects() for parameter in s.parameters}
    tried = Counter((case.subject.name, case.parameter) for case in bad_calls.chosen(COUNT))
    assert not every - tried.keys()


def test_the_calls_work_before_an_argument_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for subject in bad_calls.subjects():
        if subject.name not in ("grow", "heal"):  # minutes long, and tested in their own file
            subject.call(**subject.arguments)
