from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siod.tuning.showing.board import Board, duration, makespan, metric_label, percent


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_board(clock: Clock, names: tuple[str, ...], *, epochs: int = 6, slots: int = 1) -> tuple[Board, list[str]]:
    board = Board.of("demo", dict.fromkeys(names, epochs))
    said: list[str] = []
    board.clock, board.print_line, board.slots, board.began_at = clock, said.append, slots, clock()
    return board, said


def test_no_time_is_promised_before_an_epoch_was_measured(clock: Clock) -> None:
    board, _ = a_board(clock, ("base/0", "dminer/0"))
    board.begin("base/0")
    clock.now += 50
    assert board.seconds_left() is None


def test_time_left_is_the_measured_pace_times_what_is_left_one_after_the_other(clock: Clock) -> None:
    # 20 s for 2 of 6 epochs: 40 s left of this trial, 60 s for the one that waits.
    board, _ = a_board(clock, ("base/0", "dminer/0"))
    board.begin("base/0")
    clock.now += 10
    board.epoch("base/0", 1, {"ap_s": 0.1})
    clock.now += 10
    board.epoch("base/0", 2, {"ap_s": 0.2})
    assert board.seconds_left() == 100.0
    clock.now += 4
    assert board.seconds_left() == 96.0


def test_a_trial_pruned_in_an_earlier_call_has_no_epoch_here(clock: Clock) -> None:
    board, said = a_board(clock, ("base/0", "base/1"))
    board.prune("base/0")
    board.begin("base/1")
    board.epoch("base/1", 4, {"ap_s": 0.1})
    board.prune("base/1")
    assert said[0] == "base/0: pruned in an earlier call"
    assert said[-1] == "base/1: pruned after epoch 4/6, AP@S 10.0"
    assert board.count("pruned") == 2


def test_two_slots_run_two_trials_at_once(clock: Clock) -> None:
    # Both running trials need 50 s more; the third takes the slot that frees first and needs 60 s.
    board, _ = a_board(clock, ("base/0", "dminer/0", "base/1"), slots=2)
    board.begin("base/0")
    board.begin("dminer/0")
    clock.now += 10
    board.epoch("base/0", 1, {})
    board.epoch("dminer/0", 1, {})
    assert board.seconds_left() == 110.0


def test_a_resumed_trial_is_paced_by_its_own_new_epochs(clock: Clock) -> None:
    # It tells epoch 4 again after 1 s of loading; only the 10 s of epoch 5 say how long epoch 6 takes.
    board, _ = a_board(clock, ("base/0",))
    board.begin("base/0")
    clock.now += 1
    board.epoch("base/0", 4, {"ap_s": 0.2})
    assert board.seconds_left() is None
    clock.now += 10
    board.epoch("base/0", 5, {"ap_s": 0.2})
    assert board.seconds_left() == 10.0


def test_the_board_says_each_event_in_one_line(clock: Clock) -> None:
    board, said = a_board(clock, ("base/0", "dminer/0", "full/0"), epochs=2)
    board.finish("full/0", {"ap_s": 0.30}, state="reused")
    board.begin("base/0")
    clock.now += 65
    board.epoch("base/0", 1, {"ap_s": 0.1034})
    clock.now += 65
    board.finish("base/0", {"ap_s": 0.2, "best_ap_s": 0.25})
    board.fail("dminer/0", "loss is NaN at step 3")
    assert said == [
        "full/0: reused, AP@S 30.0",
        "base/0: started",
        "base/0: epoch 1/2, AP@S 10.3, 3:15 left",
        "base/0: finished in 2:10, AP@S 20.0",
        "dminer/0: failed: loss is NaN at step 3",
    ]


def test_best_is_the_highest_epoch_and_current_the_last(clock: Clock) -> None:
    board, _ = a_board(clock, ("base/0",))
    board.begin("base/0")
    for epoch, value in enumerate((0.1, 0.3, 0.2), start=1):
        board.epoch("base/0", epoch, {"ap_s": value})
    assert (board.rows["base/0"].current, board.rows["base/0"].best) == (0.2, 0.3)


def test_an_epoch_without_evaluation_keeps_the_last_value(clock: Clock) -> None:
    board, _ = a_board(clock, ("base/0",))
    board.begin("base/0")
    board.epoch("base/0", 1, {"ap_s": 0.1})
    board.epoch("base/0", 2, {"train/loss": 3.0})
    assert board.rows["base/0"].current == 0.1


def test_interrupting_touches_running_trials_only(clock: Clock) -> None:
    board, said = a_board(clock, ("base/0", "dminer/0", "full/0"))
    board.begin("base/0")
    board.finish("full/0", {"ap_s": 0.3})
    board.interrupt()
    assert {name: row.state for name, row in board.rows.items()} == {
        "base/0": "interrupted",
        "dminer/0": "waiting",
        "full/0": "finished",
    }
    assert said[-1] == "base/0: interrupted after epoch 0/6"


jobs = st.lists(st.floats(0, 1000), max_size=8)


@given(running=jobs, waiting=jobs, slots=st.integers(1, 8))
def test_the_makespan_lies_between_the_longest_job_and_all_jobs_in_a_row(
    running: list[float], waiting: list[float], slots: int
) -> None:
    running = running[:slots]
    whole = makespan(running, waiting, slots)
    assert whole >= max([*running, *waiting], default=0.0)
    assert whole <= sum(running) + sum(waiting) + 1e-6
    assert whole >= (sum(running) + sum(waiting)) / slots - 1e-6


def test_one_slot_runs_everything_in_a_row() -> None:
    assert makespan([5.0], [7.0, 8.0], slots=1) == 20.0


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations_are_written_for_people(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_metrics_are_written_as_in_the_paper() -> None:
    names = [metric_label("ap_s"), metric_label("ap_s3"), metric_label("ap_small_s0")]
    assert names == ["AP@S", "AP@S3", "AP_SMALL@S0"]
    assert [percent(0.1236), percent(None)] == ["12.4", ""]


def test_gpu_hours_count_what_each_trial_holds_from_its_start_to_its_end(clock: Clock) -> None:
    board, _ = a_board(clock, ("base/0", "dminer/0", "base/1"), slots=2)
    board.gpus = {"base/0": 2.0, "dminer/0": 0.5, "base/1": 2.0}
    board.begin("base/0")
    board.begin("dminer/0")
    clock.now += 1800
    board.finish("base/0", {"ap_s": 0.1})
    clock.now += 1800
    # Two GPUs for half an hour and half of one for an hour; the third waits.
    assert board.gpu_hours() == pytest.approx(1.5)


def test_the_price_so_far_is_of_gpu_hours_or_of_core_hours_where_no_trial_holds_a_gpu(clock: Clock) -> None:
    board, said = a_board(clock, ("base/0", "dminer/0"), slots=2)
    board.cpus = {"base/0": 4.0, "dminer/0": 2.0}
    assert board.priced_so_far() == "", "no price was given"
    board.price = 2.5
    board.begin("base/0")
    board.begin("dminer/0")
    clock.now += 1800
    board.epoch("base/0", 1, {"ap_s": 0.1})
    assert board.priced_so_far() == "price 7.50 at 2.50 per CPU-core-hour"  # six cores for half an hour
    assert said[-1].endswith(", price 7.50 at 2.50 per CPU-core-hour")
    board.gpus = {"base/0": 2.0, "dminer/0": 0.0}
    assert board.priced_so_far() == "price 2.50 at 2.50 per GPU-hour"  # two GPUs for half an hour
    board.rows["base/0"].began_at = None
    assert board.priced_so_far() == "", "no GPU was used yet"


def test_a_trial_whose_folder_another_process_holds_is_said_to_wait(clock: Clock) -> None:
    board, said = a_board(clock, ("a/0",))
    board.begin("a/0")
    board.wait("a/0")
    assert said == ["a/0: started", "a/0: waits for another process that holds its folder"]
    assert board.rows["a/0"].state == "running"
