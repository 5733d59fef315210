from __future__ import annotations

import os
import subprocess
import sys

from elsewhere.engine import pool


def test_no_thread_of_the_pool_is_left_to_be_started_by_who_asks_it() -> None:
    # Ctrl-C in the midst of starting a thread would leave the program waiting for that thread at its end.
    pool._POOL.clear()
    threads = pool._pool()
    assert len(threads._threads) == threads._max_workers
    assert pool._pool() is threads


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
