"""The server answers its own page alone."""

import http.client
import json
import threading
import time

import pytest

from elsewhere.studio.questions import LARGEST_QUESTION
from elsewhere.studio.server import FILES, HEADERS

QUESTION = {"subject": "fashion-mini", "machines": ["ls"], "seeds": [0], "label": 1, "steps": 2}


def send(address, method="GET", path="", body=None, headers=None, host=None):
    """(status, headers, body) of a request; `path` is put below the token, or replaces it if it begins with a slash."""
    origin, _, token = address.rstrip("/").rpartition("/")
    netloc = origin.removeprefix("http://")
    connection = http.client.HTTPConnection(netloc, timeout=30)
    sent = {"Origin": origin, **(headers or {})}
    if host is not None:
        sent["Host"] = host
    sent = {name: value for name, value in sent.items() if value is not None}
    try:
        connection.request(method, path if path.startswith("/") else f"/{token}/{path}", body, sent)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def ask(address, kind, question, **others):
    return send(address, "POST", f"ask/{kind}", json.dumps(question), **others)


def lines(body):
    return [json.loads(line) for line in body.splitlines()]


def test_a_question_is_answered_in_lines_that_end_with_done(address):
    status, _, body = ask(address, "draw", QUESTION)
    found = lines(body)
    assert status == 200
    assert [sorted(message)[0] for message in found] == ["start", "machine", "machine", "done"]


@pytest.mark.parametrize("name", ["", "live.js", "views/draw.js", "style.css"])
def test_files_of_the_page_come_with_all_headers(address, name):
    status, headers, body = send(address, path=name)
    assert status == 200
    assert body == FILES[name or "index.html"][1]
    assert {name.lower(): value for name, value in headers.items()}.items() >= HEADERS.items()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/style.css",
        "/wrong/",
        "/wrong/style.css",
        "//",
        "/a-token-of-the-test/",
        "/a-token-of-the-testsx/",
        "/%00",
    ],
)
def test_without_the_token_nothing_is_found(address, path):
    status, headers, body = send(address, path=path)
    assert status == 404
    assert b"<html" not in body
    assert headers["content-security-policy"] == HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "../server.py", "..%2fserver.py", "%2e%2e/server.py", "views/../../server.py", "/etc/passwd", "....//server.py",
        "views", "views/", "style.css/", "style.css%00.js", "C:\\windows", "x" * 5000,
    ],
)  # fmt: skip
def test_no_path_reaches_the_file_system(address, path):
    token = address.rstrip("/").rpartition("/")[2]
    status, _, body = send(address, path=f"/{token}/{path.lstrip('/')}")
    assert status in (400, 404)
    assert b"import" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""])
def test_other_hosts_are_refused(address, host):
    assert send(address, host=host)[0] in (400, 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1", None])
def test_questions_of_other_origins_are_refused(address, origin):
    assert ask(address, "draw", QUESTION, headers={"Origin": origin})[0] == 403


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff" * 10, b"{" * 5000, b'{"seeds": NaN}'])
def test_what_is_no_question_is_refused_in_words(address, body):
    status, _, told = send(address, "POST", "ask/draw", body)
    assert status == 400
    assert "must" in json.loads(told)["error"]


def test_a_huge_question_is_refused(address):
    status, _, told = send(address, "POST", "ask/draw", b" " * (4 * LARGEST_QUESTION))
    assert status == 413
    assert "at most" in json.loads(told)["error"]


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405)])
def test_other_methods_are_refused(address, method, status):
    assert send(address, method, "ask/draw")[0] == status


def test_unknown_kinds_are_refused(address):
    assert ask(address, "__class__", {})[0] == 404


def test_twenty_clients_are_all_answered_in_turns(address):
    """No client waits for another's whole drawing: all get their first message before any gets its last."""
    events, lock = [], threading.Lock()
    asked = {**QUESTION, "steps": 5, "machines": ["els"]}

    def client(number):
        origin, _, token = address.rstrip("/").rpartition("/")
        connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=120)
        headers = {"Origin": origin, "X-Elsewhere-Client": str(number)}
        connection.request("POST", f"/{token}/ask/draw", json.dumps({**asked, "seeds": [number]}), headers)
        answer = connection.getresponse()
        while line := answer.readline():
            with lock:
                events.append((number, line.startswith(b'{"done"')))
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    done = [number for number, last in events if last]
    assert sorted(done) == list(range(20))
    first_done = events.index((done[0], True))
    assert {number for number, _ in events[:first_done]} == set(range(20))


def test_work_of_a_client_that_leaves_ends(address):
    origin, _, token = address.rstrip("/").rpartition("/")
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=30)
    asked = {**QUESTION, "machines": ["els"], "steps": 50, "seeds": list(range(8)), "label": None}
    connection.request("POST", f"/{token}/ask/draw", json.dumps(asked), {"Origin": origin})
    connection.getresponse().readline()
    connection.close()
    began = time.monotonic()
    assert ask(address, "draw", QUESTION)[0] == 200
    # All 50 steps would take more than ten times as long.
    assert time.monotonic() - began < 20
