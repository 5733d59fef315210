from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch

import elsewhere as els
from elsewhere.cluster import Distributed
from elsewhere.limits import total_memory

pytest.importorskip("ray")

SIDE = 12


@pytest.fixture(scope="module")
def machine() -> els.EquivariantLocalScore:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (60, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    data = els.ImageSet(pixels, torch.arange(60) // 20)
    return els.EquivariantLocalScore(data, 5, memory=2**27)


@pytest.fixture(scope="module")
def split(machine: els.EquivariantLocalScore) -> Iterator[Distributed]:
    # One Ray for all tests: it takes seconds to start.
    with els.distributed(machine, 2, cluster="auto") as found:
        yield found


def test_processes_answer_as_one(machine: els.EquivariantLocalScore, split: Distributed) -> None:
    assert len(set(split.processes)) == 2
    assert os.getpid() not in split.processes
    x = els.make_noise(3, (1, SIDE, SIDE))
    for sigma, label in ((0.05, None), (0.7, 1), (30.0, [0, 1, 2])):
        for images, most in ((x * (1 + sigma), 1e-5), (x.double() * (1 + sigma), 1e-10)):
            assert (split(images, sigma, label) - machine(images, sigma, label)).abs().max() < most
    assert len(split.prepare([None, 2])) == 2


def test_a_process_that_is_killed_at_any_moment_changes_nothing(
    machine: els.EquivariantLocalScore, split: Distributed
) -> None:
    noise = els.make_noise(2, (1, SIDE, SIDE))
    expected = els.sample(split, noise, els.schedules.cosine(40)).images
    chance = random.Random(3)
    killed = []

    def kill() -> None:
        time.sleep(chance.uniform(0.0, 0.4))
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    for _ in range(3):
        victim = chance.choice(split.processes)
        killer = Thread(target=kill)
        killer.start()
        assert torch.equal(els.sample(split, noise, els.schedules.cosine(40)).images, expected)
        killer.join()
    assert len(set(killed)) == 3


def test_what_a_part_raises_arrives(split: Distributed) -> None:
    with pytest.raises(ValueError, match="label"):
        split(els.make_noise(1, (1, SIDE, SIDE)), 1.0, 3)


def test_a_cluster_without_the_memory(machine: els.EquivariantLocalScore, split: Distributed) -> None:
    large = els.EquivariantLocalScore(machine.data, 5, memory=2**27)
    # All that this computer has: a cluster keeps a part of it for its objects.
    large.workspace.memory = total_memory() or 2**40
    with pytest.raises(ValueError, match="GiB of memory together, the cluster has"):
        els.distributed(large, 2, cluster="auto")
    # What others use is left running.
    assert split(els.make_noise(1, (1, SIDE, SIDE)), 1.0).isfinite().all()


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_no_cluster_at_an_address() -> None:
    code = "import elsewhere as els; els.distributed(els.IdealScore(els.load_images('hands', 4)), 2, cluster='{}')"
    for address, message in (
        ("127.0.0.1:1", "ValueError: no Ray cluster answers at '127.0.0.1:1'"),
        ("nowhere", "ValueError: cluster must be 'auto' or HOST:PORT, such as '10.0.0.5:6379', got 'nowhere'"),
    ):
        child = python(code.format(address))
        _, errors = child.communicate(timeout=120)
        assert child.returncode
        assert errors.strip().splitlines()[-1].startswith(message), errors


INTERRUPTED = """
import elsewhere as els
with els.distributed(els.LocalScore(els.load_images("fashion-mini", 200), 5), 2, cluster="auto") as split:
    print(*split.processes, flush=True)
    noise = els.make_noise(4, (1, 28, 28))
    while True:
        split(noise, 1.0)
"""


def running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running(number: signal.Signals) -> None:
    child = python(INTERRUPTED)
    assert child.stdout is not None
    processes = [int(process) for process in child.stdout.readline().split()]
    assert len(processes) == 2
    child.send_signal(number)
    child.communicate(timeout=60)
    end = time.monotonic() + 60
    while any(running(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(running(process) for process in processes)


def test_ray_is_optional(machine: els.EquivariantLocalScore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'elsewhere\[cluster\]'"):
        els.distributed(machine, 2, cluster="auto")
