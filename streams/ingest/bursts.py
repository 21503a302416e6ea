"""The events of a stream, with those that are already buffered taken in bursts.

Faust gives the loop a turn before every event. A turn looks at all sockets and lets the fetching thread take the
interpreter. Here the loop gets its turn once in a burst.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["bursts"]

# How long the loop may go without a turn, beyond what the last event takes.
_BURST_S = 0.01


async def bursts(app: Any, stream: Any) -> AsyncGenerator[Any]:
    """Yield the events of a stream that does not acknowledge by itself, in order.

    As in Faust's own iteration, an event of an older generation of the consumer group is passed over, and
    nothing is taken while a rebalance holds the flow. Such events are not acknowledged here: they are delivered
    again, or read from the log as a gap.
    """
    async for _ in stream:
        yield stream.current_event
        queue, until = stream.channel.queue, time.monotonic() + _BURST_S
        while not queue.empty() and app.flow_control.is_active() and time.monotonic() < until:
            event = queue.get_nowait()
            if event.message.generation_id == app.consumer_generation_id:
                _note(app, stream, event)
                yield event


def _note(app: Any, stream: Any, event: Any) -> None:
    """What Faust notes of an event before it hands it to the agent."""
    message = event.message
    if not message.tracked:
        message.tracked = True
        app.consumer.track_message(message)
    stream._on_stream_event_in(message.tp, message.offset, stream, event)  # noqa: SLF001  (Faust has no public way)
