"""A server that is killed while it exports leaves no page that lacks its answers; Ctrl-C ends a server quietly."""

import os
import signal
import subprocess
import sys
import time


def start(*arguments):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "elsewhere", "studio", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def test_an_export_that_is_killed_leaves_no_page(tmp_path):
    child = start("--export", str(tmp_path / "site"))
    time.sleep(8)
    child.kill()
    child.communicate(timeout=30)
    assert not (tmp_path / "site" / "index.html").exists()


def test_ctrl_c_ends_the_server_with_its_exit_code():
    child = start("--no-browser")
    assert child.stdout is not None
    address = child.stdout.readline()
    assert address.startswith("studio: http://127.0.0.1:")
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in errors
