"""The exported page opens from the disk, without a network."""

import json

import pytest

from elsewhere.studio import export
from elsewhere.studio.export import export_site, key_of
from elsewhere.studio.subjects import Subjects

MOST = 15 * 2**20


@pytest.fixture(scope="module")
def site(tmp_path_factory, subjects):
    """A site of the draw view and the toy: recording all views takes minutes."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "RECORDED", export.RECORDED[:2])
        export_site(subjects, folder)
    return folder


def test_the_site_is_small_and_complete(site):
    names = {path.name for path in site.iterdir()}
    assert names == {"index.html", "studio.js", "studio.css", "answers.js", "icon.svg"}
    assert sum(path.stat().st_size for path in site.iterdir()) < MOST
    text = (site / "answers.js").read_text()
    answers = json.loads(text.removeprefix("globalThis.ELSEWHERE_ANSWERS = ").removesuffix(";\n"))
    assert "about {}" in answers
    assert all(answers.values())


def test_keys_do_not_depend_on_the_order_of_fields():
    assert key_of("draw", {"b": 1, "a": None}) == key_of("draw", {"b": 1.0}) == 'draw {"b":1}'


def test_every_question_that_is_recorded_is_a_question(subjects):
    for kind, question in (one for recorded in export.RECORDED for one in recorded(subjects)):
        assert kind in export.ANSWERS
        assert key_of(kind, question) == key_of(kind, json.loads(json.dumps(question)))


def test_nothing_is_written_if_recording_fails(tmp_path, monkeypatch):
    def fail(*others):
        raise ValueError("of this kind")

    monkeypatch.setitem(export.ANSWERS, "draw", fail)
    with pytest.raises(ValueError, match="of this kind"):
        export_site(Subjects(), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_site_draws_and_explains_from_the_disk(site, page):
    page.context.set_offline(True)
    page.goto(f"{(site / 'index.html').as_uri()}#draw")
    page.locator(".draw-level", has_text="step 20 of 20").wait_for()
    assert page.locator("canvas.draw-cell").count() == 20
    page.locator("button.draw-pick[data-machine=els][data-index='1']").click()
    page.locator(".mosaic-source").first.wait_for()
    assert page.get_by_label("Seeds").count() == 0
