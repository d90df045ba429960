"""Work in threads whose results come in order, with a bounded number started ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Apply `function` to each item in threads and yield the results in the items' order.

    At most `ahead` items (default: one more than the workers, of which there are as many as
    processors, but no more than 8) are started and not yet consumed, so memory is bounded. What
    `function` raises is raised in its item's place. Closing the iterator, or an interrupt, drops
    what has not started and waits for the rest.
    """
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    ahead = workers + 1 if ahead is None else ahead
    if workers < 1 or ahead < 1:
        raise ValueError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    return _map_ahead(function, items, workers, ahead)


def _map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="map-ahead")
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
