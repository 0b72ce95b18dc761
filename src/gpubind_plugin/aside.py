# SPDX-License-Identifier: Apache-2.0
"""Functions that may take long, in a thread of their own, so that the event loop goes on.

asyncio's own threads are waited for when the program ends; a driver that hangs would hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


async def run(function: Callable[[], Result]) -> Result:
    """Give what a function gives, or raise what it raises. Cancelled, it goes on unheard."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def act() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=act, daemon=True).start()
    return await future
