"""Processes of replicas: those that hang are told from those that are slow."""

from __future__ import annotations

import types

import pytest

from nadam_suite.doctor.probes import replicas

pytestmark = pytest.mark.once
HANG = "the processes wait for each other"


class Child:
    code = None

    def poll(self):
        return self.code


class World:
    """A clock that only sleeping moves, and what happens at its times.

    Args:
        folder: Where the children print.
        lines: Times at which each child prints a line.
        ends: Time at which all children end, and with which status.
    """

    def __init__(self, folder, lines, ends=(float("inf"), 0)):
        self.now, self.lines, self.ends = 0.0, [list(times) for times in lines], ends
        self.printed = [folder / f"{number}.out" for number in range(len(lines))]
        for path in self.printed:
            path.write_text("")
        self.children = [Child() for _ in lines]

    def sleep(self, seconds):
        self.now += seconds
        for path, times in zip(self.printed, self.lines, strict=True):
            while times and times[0] <= self.now:
                times.pop(0)
                path.write_text(path.read_text() + "{}\n")
        if self.now >= self.ends[0]:
            for child in self.children:
                child.code = self.ends[1]


def _ended(monkeypatch, world):
    clock = types.SimpleNamespace(monotonic=lambda: world.now, sleep=world.sleep)
    monkeypatch.setattr(replicas, "time", clock)
    return replicas._end_of(world.children, world.printed)


@pytest.mark.parametrize(("status", "told"), [(0, "ended without a word"), (1, "failed")])
def test_slow_workers_are_waited_for_as_long_as_they_say_something(
    monkeypatch, tmp_path, status, told
):
    """A start of 90 s is that of a slow machine, and a trial may take thrice as long there."""
    world = World(tmp_path, [[60, 300, 500], [90, 250, 550]], ends=(800, status))
    assert _ended(monkeypatch, world) == told
    assert world.now == pytest.approx(800, abs=1)


def test_workers_that_hang_are_given_up_after_a_time_that_suits_the_machine(monkeypatch, tmp_path):
    """Three times that of their start, if that is more than half a minute."""
    for start, last, end in ((20, 25, 85), (2, 5, 35), (200, 250, 550)):
        world = World(tmp_path, [[start, last], [start]])
        assert _ended(monkeypatch, world) == HANG
        assert world.now == pytest.approx(end, abs=1)


def test_a_process_without_others_has_its_time_for_each_trial(monkeypatch, tmp_path):
    """It waits for nobody; what it has not said in five minutes will not come."""
    world = World(tmp_path, [[2, 290, 580]])
    assert _ended(monkeypatch, world) == HANG
    assert world.now == pytest.approx(880, abs=1)


def test_workers_of_which_one_never_starts_are_given_up(monkeypatch, tmp_path):
    """The other waits for it."""
    world = World(tmp_path, [[20], []])
    assert _ended(monkeypatch, world) == HANG
    assert world.now == pytest.approx(320, abs=1)
