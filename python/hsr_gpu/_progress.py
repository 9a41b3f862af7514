"""Progress of a fusion: a bar of tqdm where that is installed, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reporter(
    progress: bool | Callable[[str, int, int], None],
) -> Iterator[Callable[[str, int, int], None] | None]:
    """What the core is to call with (stage, done, total), or None."""
    if progress is not True:
        yield progress or None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    bar: Any = tqdm(total=0, leave=False)

    def show(stage: str, done: int, total: int) -> None:
        if bar.desc != f"{stage}: ":
            bar.reset(total=total or None)
            bar.set_description(stage)
        bar.total = total or None
        bar.n = done
        bar.refresh()

    try:
        yield show
    finally:
        bar.close()
