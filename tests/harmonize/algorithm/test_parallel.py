"""Threads beside each other: order, errors, stopping, and what they leave behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest
import torch

from painterly_harmonize.algorithm.parallel import Workers

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def go_on() -> None:
    """Never stops anything."""


def test_values_come_in_order() -> None:
    with Workers(CPU, go_on) as workers:
        assert list(workers.map(lambda n: n * n, range(20))) == [n * n for n in range(20)]
        assert list(workers.map(lambda n: n, ())) == []
        assert workers.run(lambda: "one") == "one"


def test_there_are_as_many_workers_as_torch_has_threads_and_one_on_a_gpu() -> None:
    assert Workers(CPU, go_on).count == 2
    assert Workers(torch.device("cuda"), go_on).count == 1
    both = threading.Barrier(2)
    with Workers(CPU, go_on) as workers:
        assert sorted(workers.map(lambda _: both.wait(timeout=60), range(2))) == [0, 1]


def test_workers_compute_on_one_core_and_leave_the_setting_to_others() -> None:
    with Workers(CPU, go_on) as workers:
        assert list(workers.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


def test_an_error_is_raised_where_the_values_are_read() -> None:
    with Workers(CPU, go_on) as workers, pytest.raises(ZeroDivisionError):
        list(workers.map(lambda n: 1 // n, [1, 0, 2]))


def test_a_question_that_raises_ends_waiting_and_work() -> None:
    stopped: list[bool] = []
    started = threading.Event()

    def check() -> None:
        if started.is_set():
            raise InterruptedError

    workers = Workers(CPU, check)

    def endless(_: int) -> None:
        started.set()
        try:
            while True:
                workers.raise_if_stopped()
        except CancelledError:
            stopped.append(True)
            raise

    with pytest.raises(InterruptedError), workers:
        list(workers.map(endless, range(50)))
    assert 1 <= len(stopped) <= 2, "what had not begun never does"
