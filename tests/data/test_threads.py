"""Ordered work in threads: order, bound, errors, interrupts."""

from __future__ import annotations

import threading
import time

import pytest

from jaxattr.data.threads import map_ahead


def threads() -> int:
    return sum(thread.name.startswith("map-ahead") for thread in threading.enumerate())


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_map_ahead_keeps_the_order(ahead):
    def slow_first(item: int) -> int:
        time.sleep(0.002 * (7 - item % 7))
        return item * item

    found = list(map_ahead(slow_first, range(30), workers=4, ahead=ahead))
    assert found == [item * item for item in range(30)]
    assert threads() == 0
    assert list(map_ahead(slow_first, [])) == []


def test_map_ahead_is_bounded():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = map_ahead(lambda item: item, items(), workers=2, ahead=5)
    assert taken == []
    for consumed, result in enumerate(results):
        assert result == consumed
        assert len(taken) <= consumed + 5


def test_map_ahead_stops_with_its_consumer():
    started = []

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.005)
        return item

    results = map_ahead(work, range(1000), workers=2, ahead=8)
    assert next(results) == 0
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert threads() == 0
    assert len(started) <= 8


def test_map_ahead_stops_on_an_interrupt():
    def work(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    results = map_ahead(work, range(1000), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert threads() == 0


def test_map_ahead_needs_a_worker():
    with pytest.raises(ValueError, match="at least 1, got 0 and 4"):
        map_ahead(str, [1], workers=0, ahead=4)
