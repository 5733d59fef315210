from __future__ import annotations

import os
import subprocess
import sys
from threading import Thread

import pytest

from elsewhere.engine import pool


def test_no_thread_of_the_pool_is_left_to_be_started_by_who_asks_it() -> None:
    # Ctrl-C in the midst of starting a thread would leave the program waiting for that thread at its end.
    pool._POOL.clear()
    threads = pool._pool()
    assert len(threads._threads) == threads._max_workers
    assert pool._pool() is threads


def test_ctrl_c_while_the_pool_starts_waits_until_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    # The process may end right after Ctrl-C, and an executor that starts threads then prints a traceback.
    class Interrupted(Thread):
        presses = 1

        def join(self, timeout: float | None = None) -> None:
            if Interrupted.presses:
                Interrupted.presses = 0
                raise KeyboardInterrupt
            super().join(timeout)

    pool._POOL.clear()
    monkeypatch.setattr(pool, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool._pool()
    assert len(pool._POOL) == 1


def test_the_engine_leaves_torch_its_threads() -> None:
    # In a process of its own: the threads of a pool change what torch gives to a thread that has not asked yet.
    code = (
        "import torch\n"
        "from elsewhere.engine import pool\n"
        "workers = pool._pool()._max_workers\n"
        "assert workers == torch.get_num_threads() == 2, (workers, torch.get_num_threads())\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


FORKED = """
import os, sys
import torch
torch.set_num_threads(4)
import elsewhere as els
from elsewhere.engine import planner
planner.SEARCH_PLACES, planner.SEARCH_PLACES_A_NUMBER = 400, 0

data = els.load_images("fashion-mini", 60)
x = els.make_noise(2, data.shape)
denoisers = [
    els.EquivariantLocalScore(data, 5, "wrap", engine="fast"),
    els.EquivariantLocalScore(data, 5, engine="exact"),
    els.LocalScore(data, 5),
    els.load_network("fashion-resnet"),
]
expected = [denoiser(x, 0.7) for denoiser in denoisers]
# Torch starts its threads for large products only.
torch.randn(600, 600) @ torch.randn(600, 600)

def answers(number):
    return float((denoisers[number](x, 0.7) - expected[number]).abs().max())

class Denoised(torch.utils.data.Dataset):
    def __len__(self):
        return len(denoisers)

    def __getitem__(self, number):
        return answers(number)

if sys.argv[1] == "fork":
    child = os.fork()
    if child == 0:
        os._exit(any(answers(number) > 2e-3 for number in range(4)))
    assert os.waitpid(child, 0)[1] == 0
else:
    loader = torch.utils.data.DataLoader(Denoised(), num_workers=2, multiprocessing_context="fork")
    assert max(float(batch) for batch in loader) < 2e-3
assert max(answers(number) for number in range(4)) < 2e-3, "the parent goes on"
assert torch.get_num_threads() == 4
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("way", ["fork", "DataLoader"])
def test_a_process_forked_after_use_answers_as_its_parent(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, way], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
