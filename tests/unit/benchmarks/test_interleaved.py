from __future__ import annotations

from benchmarks.interleaved import Timing, interleave, speedup


def test_sides_take_turns_and_warming_up_does_not_count() -> None:
    calls: list[str] = []
    timings = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=1)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_a_speedup_is_the_median_over_rounds() -> None:
    timings = {"old": Timing(seconds=(2.0, 9.0, 4.0)), "new": Timing(seconds=(1.0, 1.0, 2.0))}
    assert speedup(timings, slow="old", fast="new") == 2
    assert timings["old"].median == 4
    assert str(timings["new"]) == "1000.0 ms (1000.0..2000.0)"
