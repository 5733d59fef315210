"""Added pictures are checked, bounded, and forgotten with their page."""

import base64
import http.client
import json
import time

import pytest

from elsewhere.studio import subjects as module
from elsewhere.studio.own import read_own
from tests.studio.test_server import QUESTION, ask, lines, send

PICTURE = base64.b64encode(bytes(range(256))).decode()
ASKED = {"side": 16, "channels": 1, "pictures": [PICTURE, PICTURE], "classes": ["a", "b"], "labels": [0, 1]}


def test_pictures_and_classes_are_those_that_were_sent():
    subject = read_own(json.dumps(ASKED).encode())
    assert subject.data.shape == (1, 16, 16)
    assert subject.data.images[1].flatten().tolist() == list(range(256))
    assert subject.data.labels.tolist() == [0, 1]
    assert len(subject.name) > 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 8}, "side must be"),
        ({"side": 65}, "side must be"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"pictures": []}, "two or more"),
        ({"pictures": [PICTURE] * 2001}, "at most 2000"),
        ({"pictures": [PICTURE, PICTURE[:-4]]}, "must have 256 bytes"),
        ({"pictures": [PICTURE, "../../etc/passwd"]}, "base64|256 bytes"),
        ({"pictures": [PICTURE, 3]}, "base64"),
        ({"labels": [0]}, "one number for each"),
        ({"labels": [0, 2]}, r"labels\[1\] must be"),
        ({"classes": []}, "one number for each"),
        ({"path": "/etc"}, "unknown fields"),
    ],
)
def test_bad_pictures_are_refused_in_words(change, message):
    with pytest.raises(ValueError, match=message):
        read_own(json.dumps({**ASKED, **change}).encode())


def test_a_set_is_there_while_its_page_is_open(address, subjects):
    origin, _, token = address.rstrip("/").rpartition("/")
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=30)
    connection.request("POST", f"/{token}/own", json.dumps(ASKED), {"Origin": origin})
    answer = connection.getresponse()
    name = json.loads(answer.readline())["subject"]
    asked = {**QUESTION, "subject": name, "label": 1, "window": 3}
    status, _, body = ask(address, "draw", asked)
    assert status == 200
    assert "done" in lines(body)[-1]
    assert name not in lines(ask(address, "about", {})[2])[0]["subjects"]
    answer.close()
    connection.close()
    until = time.monotonic() + 10
    while name in subjects.added.found and time.monotonic() < until:
        time.sleep(0.05)
    assert ask(address, "draw", asked)[0] == 400


def test_all_sets_together_are_bounded(address, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    status, _, body = send(address, "POST", "own", json.dumps(ASKED))
    assert status == 400
    assert "too many pictures" in json.loads(body)["error"]


def test_a_huge_body_is_refused(address, monkeypatch):
    monkeypatch.setattr("elsewhere.studio.server.LARGEST_BODY", 1000)
    assert send(address, "POST", "own", b"x" * 5000)[0] == 413


def test_a_folder_becomes_a_set_with_classes(page, address, tmp_path):
    from PIL import Image

    for name, colour in (("<img src=x onerror=alert(1)>", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (40, 30 + i), colour).save(tmp_path / "mine" / name / f"{i}.png")
    (tmp_path / "mine" / "notes.txt").write_text("no picture")
    page.goto(f"{address}#draw?steps=3")
    page.get_by_text("Use your own pictures").click()
    page.locator("input[webkitdirectory]").set_input_files(tmp_path / "mine")
    page.locator(".own-said", has_text="6 pictures added in 2 classes. Left out: 1").wait_for()
    page.locator("#status", has_text="Drawn in").wait_for()
    assert page.get_by_label("Class").locator("option").all_inner_texts() == [
        "all classes",
        "<img src=x onerror=alert(1)>",
        "blue",
    ]
