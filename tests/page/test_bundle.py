"""The page's modules can be joined into one script."""

import re

import pytest

from elsewhere.page import bundle
from elsewhere.studio.server import FILES


def test_every_module_of_the_page_can_be_bundled():
    names = [name for name in FILES if name.endswith(".js")]
    assert "views/draw.js" in names
    for name in names:
        text = bundle.bundle(name)
        assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
        assert text.count(f'modules["{name}"] = ') == 1


def test_a_circle_of_imports_is_refused(monkeypatch):
    sources = {"a.js": 'import { b } from "./b.js";\nexport const a = 1;', "b.js": 'import { a } from "./a.js";'}
    monkeypatch.setattr(bundle, "read", sources.__getitem__)
    with pytest.raises(ValueError, match=r"circle: a\.js -> b\.js -> a\.js"):
        bundle.bundle("a.js")


def test_other_forms_of_import_are_refused(monkeypatch):
    monkeypatch.setattr(bundle, "read", {"a.js": 'import b from "./b.js";'}.__getitem__)
    with pytest.raises(ValueError, match="cannot be bundled"):
        bundle.bundle("a.js")


def test_imported_names_may_be_renamed(monkeypatch):
    sources = {"a.js": 'import { b as c } from "./b.js";\nexport const a = c;', "b.js": "export const b = 1;"}
    monkeypatch.setattr(bundle, "read", sources.__getitem__)
    assert 'const { b: c } = modules["b.js"];' in bundle.bundle("a.js")
