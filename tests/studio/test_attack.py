"""Bad requests of every kind are refused in one sentence, and the server goes on as if they had never come."""

import asyncio
import base64
import gc
import json
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from elsewhere.studio import server
from elsewhere.studio.answers import ANSWERS
from elsewhere.studio.drawing import Runs
from elsewhere.studio.own import LARGEST_BODY, read_own
from elsewhere.studio.questions import LARGEST_QUESTION, Question
from elsewhere.studio.server import FAILED, make_app
from elsewhere.studio.turns import MOST_OF_A_CLIENT

HOST, TOKEN = "127.0.0.1:1", "secret"
PICTURE = base64.b64encode(bytes(16 * 16)).decode()
DRAW = {
    "subject": "fashion-mini", "machines": ["ls"], "seeds": [0], "label": 1, "steps": 1, "window": 5,
    "strokes": [[1, 1, 2, 3]],
}  # fmt: skip
GOOD = {
    "about": {"subject": "fashion-mini"},
    "draw": DRAW,
    "explain": {"draw": DRAW, "machine": "ls", "seed": 0, "step": 0, "top": 2},
    "film": {"draw": DRAW, "shown": "x"},
    "toy": {"pictures": [[0] * 64, [1] * 64], "seed": 0},
    "fingers": {"seed": 0, "window": 5, "when": 1.0},
    "gallery": {"first": 0, "count": 1},
    "grow": {"pattern": "spots", "seed": 0},
    "heal": {"pattern": "spots", "seed": 0, "wound": [[1, 1, 3]]},
    "copied": {"subject": "fashion-mini", "example": "altered"},
    "own": {"side": 16, "channels": 1, "pictures": [PICTURE] * 2, "classes": ["a", "b"], "labels": [0, 1]},
}
"""A question of each kind with all of its fields."""
READERS = ("take", "whole", "number", "text", "choice", "items", "part")
DEEP = "[" * 900 + "]" * 900
WRONG = ["true", '"\\ud800<script>"', "{}", "[[]]", '[{"a": 1}]', DEEP, "1e400", "NaN", "9" * 400, "9" * 5000, '"9"']
"""JSON of wrong values for any field."""


def call(app, method, path, body=b"", headers=(), leave=None):
    """(status, body) of a request that is given to the app as a server would.

    `body` is bytes, or a list of parts of which None never comes; the client leaves after `leave` parts of the answer.
    """
    parts = body if isinstance(body, list) else [body]
    named = {"host": HOST, "origin": f"http://{HOST}", **dict(headers)}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"", "scheme": "http", "http_version": "1.1",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items() if value is not None],
        "asgi": {"version": "3.0", "spec_version": "2.3"}, "root_path": "", "server": ("127.0.0.1", 1),
    }  # fmt: skip

    async def run():
        sent, left, coming = [], asyncio.Event(), iter(parts)
        if leave == 0:
            asyncio.get_running_loop().call_later(0.05, left.set)

        async def receive():
            for part in coming:
                if part is None:
                    break
                return {"type": "http.request", "body": part, "more_body": part is not parts[-1]}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            answered = sum("body" in one for one in sent)
            if message["type"].endswith("body") and (not message.get("more_body") or answered == leave):
                left.set()

        await app(scope, receive, send)
        status = sent[0]["status"] if sent else None
        return status, b"".join(message.get("body", b"") for message in sent).decode()

    return run()


def path_of(kind):
    return f"/{TOKEN}/own" if kind == "own" else f"/{TOKEN}/ask/{kind}"


@pytest.fixture
def app(subjects):
    """Requests to an app, from a thread: a browser of other tests has its event loop in this one."""
    app = make_app(subjects, token=TOKEN, port=1)
    runner = asyncio.Runner()
    with ThreadPoolExecutor(1) as thread:

        def send(*requests):
            async def together():
                return await asyncio.gather(*(call(app, *request) for request in requests))

            return thread.submit(runner.run, together()).result(60)

        yield send
        thread.submit(runner.close).result(60)


def recording(reader, found):
    """A reader of a question that also writes down what it reads."""
    read = getattr(Question, reader)

    def record(self, field, *arguments):
        found.append(((*self.name.split(".")[1:], field), reader, arguments))
        return read(self, field, *arguments)

    return record


def read_fields(monkeypatch, subjects, kind):
    """(path to a field, reader, arguments) of all fields of a kind of question, as they are read."""
    found = []
    with monkeypatch.context() as patch:
        for reader in READERS:
            patch.setattr(Question, reader, recording(reader, found))
        if kind == "own":
            read_own(json.dumps(GOOD[kind]).encode())
        else:
            next(ANSWERS[kind](Question(GOOD[kind]), subjects, Runs()))
    return found


def wrong_values(reader, arguments):
    """JSON of values that a reader must refuse."""
    if reader in ("whole", "number"):
        least, most = arguments[:2]
        return [f"{least - 1}", f"{most + 1}", f"-{most + 2}", f"{least}.5" if reader == "whole" else "-1e-9"]
    if reader == "items":
        most = arguments[0] if arguments else 256
        return [json.dumps([0] * (most + 1)), '{"0": 0}', '[null, "x"]']
    return ['""', '"nothing of that name"', "-1"] if reader in ("choice", "text") else WRONG


def changed(question, path, text):
    """JSON of a question with the text in place of a field."""
    copy = json.loads(json.dumps(question))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = "\0"
    return json.dumps(copy).replace(json.dumps("\0"), text).encode()


def bad_questions(monkeypatch, subjects, kind):
    """Bodies that are no question of a kind."""
    fields = read_fields(monkeypatch, subjects, kind)
    values = {(path, text) for path, *reader in fields for text in wrong_values(*reader)}
    text = json.dumps(GOOD[kind])
    own = [text[:-1], text[1:], text[:-1] + ', "extra": 1}', text[:-1] + ", " + text[1:], text + text, f"[{text}]"]
    many = text[:-1] + "".join(f', "{i}": 0' for i in range(2000)) + "}"
    return [changed(GOOD[kind], *value) for value in sorted(values)] + [one.encode() for one in (*own, many)]


def is_a_sentence(body):
    """Whether a refusal is one short line for people."""
    try:
        told = json.loads(body)["error"]
    except json.JSONDecodeError:
        told = body
    unwanted = ("Traceback", "Error", "File ", "\n", "object at", "None:", "sys.", FAILED)
    return 5 < len(told) < 400 and not any(word in told for word in unwanted)


@pytest.mark.parametrize("kind", sorted({*ANSWERS, "own"}))
def test_wrong_questions_are_refused_in_a_sentence(app, subjects, monkeypatch, kind):
    bodies = bad_questions(monkeypatch, subjects, kind)
    assert len(bodies) > 20
    for body in bodies:
        [(status, told)] = app(("POST", path_of(kind), body))
        assert (status, is_a_sentence(told)) == (400, True), (body[:200], status, told[:300])
    assert subjects.added.found == {}
    assert app(("POST", path_of("about"), b"{}"))[0][0] == 200


ASK = path_of("toy")
BODY = json.dumps(GOOD["toy"]).encode()
REQUESTS = [
    *(("POST", f"/{token}/ask/toy", 404) for token in ("", "secre", "secretx", "SECRET", "..", "\ud7ff", "%73ecret")),
    *(("POST", f"/{TOKEN}/{path}", 404) for path in ("ask/x", "ask/__init__", "ask/toy\0", "ask/TOY")),
    *(("POST", f"/{TOKEN}/{path}", 405) for path in ("", "style.css", "ask/", "ask/toy/", "ask/toy/x", "ask/../own")),
    *((method, path, 405) for method in ("PUT", "DELETE", "PATCH", "TRACE", "XYZ") for path in (ASK, path_of("own"))),
    *(("GET", f"/{TOKEN}/{path}", 404) for path in ("..", "/etc/passwd", "views", "a\\b", "x" * 9999, "ask/toy")),
]  # fmt: skip
HEADERS = [
    *({"host": host} for host in (None, "", "evil.example", "127.0.0.1", "127.0.0.1:2", "localhost:1.evil.example")),
    *(
        {"origin": origin}
        for origin in (None, "", "null", "http://evil.example", f"https://{HOST}", "http://127.0.0.1")
    ),
]


def test_requests_from_elsewhere_and_of_other_forms_are_refused(app):
    for method, path, status in REQUESTS:
        [(found, told)] = app((method, path, BODY))
        assert found == status, (method, path, told)
        assert is_a_sentence(told)
    for headers in HEADERS:
        [(found, told)] = app(("POST", ASK, BODY, headers))
        assert (found, is_a_sentence(told)) == (403, True), headers
    assert app(("POST", ASK, BODY))[0][0] == 200


def test_bodies_that_are_too_long_too_slow_or_cut_off_are_refused(app, monkeypatch):
    monkeypatch.setattr(server, "SLOWEST_BODY", 0.05)
    block = b" " * 2**20
    for kind, most in (("toy", LARGEST_QUESTION), ("own", LARGEST_BODY)):
        [(status, told)] = app(
            ("POST", path_of(kind), [block] * (most // len(block)) + [b" " * (most % len(block) + 1)])
        )
        assert (status, is_a_sentence(told)) == (413, True), told
        [(status, told)] = app(("POST", path_of(kind), [b"{", None]))
        assert (status, is_a_sentence(told)) == (408, True), told
        monkeypatch.setattr(server, "SLOWEST_BODY", 5)
        [(status, told)] = app(("POST", path_of(kind), [b"{", None], {}, 0))
        assert status == 400, told
        monkeypatch.setattr(server, "SLOWEST_BODY", 0.05)
    assert app(("POST", ASK, BODY))[0][0] == 200


def test_an_address_without_its_last_slash_leads_to_the_page(app):
    assert app(("GET", f"/{TOKEN}"))[0][0] == 307


def test_refused_requests_leave_nothing_in_memory(app, subjects, monkeypatch):
    bodies = bad_questions(monkeypatch, subjects, "draw")
    requests = [("POST", path_of("draw"), body) for body in bodies] + [(m, path, BODY) for m, path, _ in REQUESTS]
    grown = []
    for _ in range(3):
        tracemalloc.start()
        for request in requests:
            app(request)
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    # Less than a kilobyte of each: a body has more.
    assert min(grown) < 1000 * len(requests), grown


def test_a_client_that_leaves_before_its_answer_frees_its_place(app, monkeypatch):
    """More questions than a client may ask at once, all left while another one works: the next one is answered."""
    works, began = threading.Event(), []

    def slow(question, subjects, runs):
        began.append("slow")
        works.wait(10)
        yield {"x": 1}

    def left(question, subjects, runs):
        began.append("left")
        yield {"x": 1}

    monkeypatch.setitem(ANSWERS, "slow", slow)
    monkeypatch.setitem(ANSWERS, "left", left)
    gone = [("POST", path_of("left"), b"{}", {}, 0)] * (MOST_OF_A_CLIENT - 1)
    last = threading.Timer(0.5, works.set)
    last.start()
    app(("POST", path_of("slow"), b"{}", {}, 0), *gone)
    app(*gone)
    assert not works.is_set()
    [(status, _)] = app(("POST", path_of("toy"), BODY))
    assert status == 200
    assert began == ["slow"]


def test_pictures_of_a_client_that_leaves_at_any_moment_are_forgotten(app, subjects):
    body = json.dumps(GOOD["own"]).encode()
    for leave in (0, 1):
        [(_, told)] = app(("POST", path_of("own"), body, {}, leave))
        assert subjects.added.found == {}, told
    assert "own-" in told
