"""L-BFGS without line search: oracles 34 and 35, and PyTorch's own as a twin."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm import optimize
from painterly_harmonize.algorithm.continuation import PassState
from painterly_harmonize.algorithm.errors import CheckpointInvalid
from painterly_harmonize.algorithm.optimize import NEVER, Evaluation, Plateau, Step, Tolerances, minimize

Gradient = Callable[[Tensor], Tensor]


def itself(x: Tensor) -> Tensor:
    """Gradient of ``½‖x‖²``."""
    return x.clone()


def run(
    gradient: Gradient, start: Tensor, *, count: int, rate: float, history: int = 100, tolerances: Tolerances = NEVER
) -> list[Step]:
    def evaluate(x: Tensor) -> Evaluation:
        return gradient(x), {"at": x.clone()}

    return [
        Step(iteration=step.iteration, vector=step.vector.clone(), losses=step.losses, state=step.state)
        for step in minimize(
            start, evaluate, iteration_count=count, learning_rate=rate, history_size=history, tolerances=tolerances
        )
    ]


def test_oracle_34_two_steps_by_hand() -> None:
    first, second = run(itself, torch.tensor([3.0, 4.0], dtype=torch.float64), count=2, rate=1.0)
    assert first.vector.tolist() == pytest.approx([18 / 7, 24 / 7], abs=1e-12)
    assert second.vector.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_oracle_34_first_step_scales_with_the_rate() -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    (step,) = run(itself, start, count=1, rate=0.1)
    torch.testing.assert_close(start - step.vector, start / 70, atol=1e-12, rtol=0)


def test_first_step_is_at_most_the_rate() -> None:
    # ‖g‖₁ = 0.3 < 1: the step is not enlarged.
    start = torch.tensor([0.1, 0.2], dtype=torch.float64)
    (step,) = run(itself, start, count=1, rate=0.5)
    torch.testing.assert_close(step.vector, start * 0.5)


@pytest.mark.parametrize("count", [1, 2, 7, 25])
def test_oracle_35_as_many_evaluations_as_iterations(count: int) -> None:
    calls = 0

    def gradient(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x - 1

    steps = run(gradient, torch.arange(5, dtype=torch.float64), count=count, rate=0.1)
    assert calls == count
    assert [step.iteration for step in steps] == list(range(1, count + 1))


def test_losses_are_those_where_the_step_began() -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    first, second = run(itself, start, count=2, rate=1.0)
    assert torch.equal(first.losses["at"], start)
    assert torch.equal(second.losses["at"], first.vector)


def test_the_start_is_not_written_to() -> None:
    start = torch.tensor([3.0, 4.0])
    run(itself, start, count=3, rate=1.0)
    assert start.tolist() == [3, 4]


def quadratic(x: Tensor) -> Tensor:
    scales = torch.logspace(0, 2, x.numel(), dtype=x.dtype)
    return scales * (x - 0.5)


def rosenbrock(x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_(True)
    value = (10 * (leaf[1:] - leaf[:-1] ** 2) ** 2 + (1 - leaf[:-1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(value, leaf)
    return gradient


def pytorch(gradient: Gradient, start: Tensor, *, count: int, rate: float, history: int) -> Tensor:
    variable = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [variable],
        lr=rate,
        max_iter=count,
        max_eval=10 * count,
        history_size=history,
        tolerance_grad=-1,
        tolerance_change=-1,
        line_search_fn=None,
    )

    def closure() -> float:
        variable.grad = gradient(variable.detach())
        return 0.0

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return variable.detach()


@pytest.mark.parametrize("gradient", [quadratic, rosenbrock])
@pytest.mark.parametrize("history", [1, 4, 100])
@pytest.mark.parametrize(("count", "rate"), [(1, 1.0), (2, 0.1), (30, 0.1), (12, 1.0)])
def test_every_iterate_equals_pytorchs(gradient: Gradient, history: int, count: int, rate: float) -> None:
    start = torch.linspace(-0.5, 0.8, 60, dtype=torch.float64)
    steps = run(gradient, start, count=count, rate=rate, history=history)
    for step in {
        steps[0].iteration: steps[0],
        steps[count // 2].iteration: steps[count // 2],
        count: steps[-1],
    }.values():
        expected = pytorch(gradient, start, count=step.iteration, rate=rate, history=history)
        torch.testing.assert_close(step.vector, expected, atol=1e-8, rtol=1e-8)
    assert float((steps[-1].vector - start).abs().max()) > 1e-3


def test_a_pair_without_curvature_is_left_out() -> None:
    # The gradient never changes: y = 0, so every step goes down it with the plain rate.
    slope = torch.tensor([2.0, -1.0], dtype=torch.float64)
    steps = run(lambda _: slope.clone(), torch.zeros(2, dtype=torch.float64), count=4, rate=1.0)
    torch.testing.assert_close(steps[0].vector, -slope / 3)
    torch.testing.assert_close(steps[3].vector, -slope / 3 - 3 * slope)


def test_it_stops_by_its_tolerances_and_only_by_them() -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert len(run(itself, start, count=50, rate=1.0, tolerances=Tolerances())) < 5
    assert len(run(itself, start, count=50, rate=1.0, tolerances=NEVER)) == 50
    assert run(itself, torch.zeros(3), count=50, rate=1.0, tolerances=Tolerances()) == []
    small = Tolerances(gradient=-1, move=0.5)
    steps = run(itself, start, count=50, rate=0.1, tolerances=small)
    moves = [float((b.vector - a.vector).abs().max()) for a, b in itertools.pairwise(steps)]
    assert len(steps) < 50
    assert all(move > 0.5 for move in moves[:-1])


def test_a_run_that_is_cut_short_computes_as_one_that_was_meant_to_be() -> None:
    start = torch.linspace(-0.5, 0.8, 60)
    long = run(rosenbrock, start, count=30, rate=0.3)
    for count in (2, 7, 29):
        short = run(rosenbrock, start, count=count, rate=0.3)
        assert all(torch.equal(a.vector, b.vector) for a, b in zip(short, long, strict=False))


@pytest.mark.parametrize("history", [1, 4, 100])
@pytest.mark.parametrize("done", [1, 2, 5, 19])
def test_a_state_is_all_that_the_next_steps_need(history: int, done: int) -> None:
    start = torch.linspace(-0.5, 0.8, 60)

    def steps(begin: Tensor, resume: PassState | None = None) -> Iterator[Step]:
        return minimize(
            begin,
            lambda x: (rosenbrock(x), {}),
            iteration_count=20,
            learning_rate=0.3,
            history_size=history,
            resume=resume,
        )

    whole = steps(start)
    step = next(step for step in whole if step.iteration == done)
    state = PassState(
        iteration=done,
        is_last=False,
        least_loss=0.0,
        tensors={name: each.clone() for name, each in step.state().items()},
    )
    expected = [(step.iteration, step.vector.clone()) for step in whole]
    found = [(step.iteration, step.vector.clone()) for step in steps(state.tensors["vector"], state)]
    assert [n for n, _ in found] == [n for n, _ in expected] == list(range(done + 1, 21))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "other", "text"),
    [
        ("previous", torch.zeros(59), r"previous must be torch.float32 \(60,\), but is torch.float32 \(59,\)"),
        ("count", torch.zeros(()), "count must be torch.int64"),
        ("pairs", torch.zeros(6, 61), r"pairs must be torch.float32 \(6, 60\)"),
        ("pairs", torch.zeros(5, 60), "pairs must be 2 to 12 rows, an even number, but are 5"),
        ("pairs", torch.zeros(14, 60), "2 to 12 rows"),
        ("move", None, "it has no move"),
    ],
)
def test_a_state_of_another_shape_is_refused(name: str, other: Tensor | None, text: str) -> None:
    start = torch.linspace(-0.5, 0.8, 60)

    def steps(resume: PassState | None = None) -> Iterator[Step]:
        return minimize(start, lambda x: (x, {}), iteration_count=9, learning_rate=0.3, history_size=5, resume=resume)

    tensors = dict(next(steps()).state())
    if other is None:
        del tensors[name]
    else:
        tensors[name] = other
    with pytest.raises(CheckpointInvalid, match=text):
        next(steps(PassState(iteration=1, is_last=False, least_loss=0.0, tensors=tensors)))


def test_a_gradient_that_is_not_finite_ends_the_run() -> None:
    def gradient(x: Tensor) -> Tensor:
        return x if x.abs().sum() > 5 else x * torch.nan

    with pytest.raises(FloatingPointError, match="not finite"):
        run(gradient, torch.tensor([3.0, 4.0]), count=9, rate=1.0)


def test_an_accelerator_is_asked_seldom_and_ends_at_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    tolerances = Tolerances(gradient=-1, move=0.5)
    asked = run(itself, start, count=50, rate=0.1, tolerances=tolerances)
    monkeypatch.setattr(optimize, "_QUESTION_PERIODS", {"cpu": 25})
    seldom = run(itself, start, count=50, rate=0.1, tolerances=tolerances)
    assert len(asked) < len(seldom) == 25
    assert torch.equal(seldom[-1].vector, asked[-1].vector), "what has met its tolerance no longer moves"


def bounded(gradient: Gradient, start: Tensor, *, count: int, rate: float, max_step: float) -> list[Tensor]:
    steps = minimize(
        start,
        lambda x: (gradient(x), {}),
        iteration_count=count,
        learning_rate=rate,
        history_size=10,
        max_step=max_step,
    )
    return [start, *(step.vector.clone() for step in steps)]


def test_bounded_steps_by_hand() -> None:
    # The steepest entry moves by one; then by Newton's step, 27·(4/3, 1), shortened to 2 as a whole.
    start = torch.tensor([40.0, 30.0], dtype=torch.float64)
    found = bounded(itself, start, count=3, rate=1.0, max_step=2)
    assert found[1].tolist() == pytest.approx([39, 29.25])
    assert found[2].tolist() == pytest.approx([37, 27.75])
    assert found[3].tolist() == pytest.approx([35, 26.25])
    small = bounded(itself, start, count=1, rate=1.0, max_step=0.25)
    assert small[1].tolist() == pytest.approx([39.75, 29.8125])


def test_no_entry_moves_farther_than_the_bound_and_some_as_far() -> None:
    scales = torch.tensor([0.3, 1.0, 5.0, 20.0], dtype=torch.float64)
    start = torch.tensor([200.0, -50.0, 30.0, 9.0], dtype=torch.float64)

    def quartic(x: Tensor) -> Tensor:
        return scales * x.pow(3)

    found = bounded(quartic, start, count=40, rate=0.8, max_step=7)
    moves = [float((after - before).abs().max()) for before, after in itertools.pairwise(found)]
    assert max(moves) == pytest.approx(7)
    assert float(quartic(found[-1]).abs().max()) < 1e-3 * float(quartic(start).abs().max())


def test_a_bound_that_is_never_met_changes_the_first_step_alone() -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    one, other = (bounded(itself, start, count=2, rate=1.0, max_step=bound) for bound in (100, 200))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[2].tolist() == pytest.approx([0, 0], abs=1e-12)


def test_a_bounded_run_without_a_gradient_stays() -> None:
    start = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert all(torch.equal(x, start) for x in bounded(torch.zeros_like, start, count=3, rate=1.0, max_step=5))


@pytest.mark.parametrize(
    ("share", "losses", "ends_at"),
    [
        # A fall of 10 % from 25 to 50, of 1 % from 50 to 75.
        (0.05, {25: 100.0, 50: 90.0, 75: 89.1}, 75),
        (0.2, {25: 100.0, 50: 90.0, 75: 89.1}, 50),
        (0.005, {25: 100.0, 50: 90.0, 75: 89.1}, None),
        # Nothing to compare with at first; what rises has stopped falling; nothing ends without a share.
        (0.5, {25: 1e30}, None),
        (0.01, {25: 100.0, 50: 101.0}, 50),
        (0.0, {25: 100.0, 50: 100.0, 75: 200.0}, None),
    ],
)
def test_a_plateau_is_seen_every_25_iterations(share: float, losses: dict[int, float], ends_at: int | None) -> None:
    plateau = Plateau(share)
    found = None
    for iteration in range(1, max(losses) + 1):
        # Between, losses that would end it at once, were they looked at.
        if plateau.is_reached(iteration, torch.tensor(losses.get(iteration, 1e-3 * iteration))):
            found = iteration
            break
    assert found == ends_at
