"""The ingest worker's process.

    python -m streams.ingest.worker --config FILE
    python -m streams.ingest.worker --config FILE --start-afresh MARKET

Exit codes: 0 stopped on a signal; 2 settings, or the port is taken; 5 the broker is away, or a topic was made
anew; 7 retention has eaten records that no cut holds; 70 ended by the watchdog; 1 an error nobody foresaw.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import logging.config
import signal
import sys
from typing import TYPE_CHECKING

from janus_memory.errors import ConfigError, JanusError
from janus_memory.settings import load_settings
from streams.connection import wait_for_broker
from streams.ingest import health
from streams.ingest.afresh import start_afresh
from streams.ingest.flagging import Flagger
from streams.ingest.metrics import exposition
from streams.ingest.models import Models
from streams.ingest.publisher import Publisher
from streams.ingest.runtime import LOGGING, Runtime

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from janus_memory.config import Settings

__all__ = ["main"]

# Faust fetches in a second thread; with short turns a record costs a tenth less processor time than with Python's 5 ms.
_SWITCH_S = 0.00005
_logger = logging.getLogger("streams.ingest.worker")  # as `python -m` this module is named __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until a signal comes; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m streams.ingest.worker", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the settings, as TOML")
    parser.add_argument("--start-afresh", metavar="MARKET", help="forget how far its topic was read, and end")
    options = parser.parse_args(arguments)
    logging.config.dictConfig(LOGGING)
    sys.setswitchinterval(_SWITCH_S)
    try:
        settings = load_settings(options.config)
        if options.start_afresh:
            asyncio.run(start_afresh(settings, options.start_afresh))
            print(f"market {options.start_afresh} starts afresh from what its topic holds now")
            return 0
        if not settings.markets:
            raise ConfigError(
                f"no market in {options.config}; nothing was started; add [markets.NAME] with its features"
            )
        with contextlib.closing(health.listen(settings.ingest.host, settings.ingest.port)) as listener:
            failure = asyncio.run(_serve(settings, listener))
    except JanusError as error:
        failure = error
    except asyncio.CancelledError:
        return 0
    return _report(failure)


async def _serve(settings: Settings, listener: socket.socket) -> BaseException | None:
    """Start the parts one after the other, consume, stop them; why it ended, None for a signal."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (asyncio.run always gives one)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Until Faust has installed its own handlers, a signal cancels the start.
        loop.add_signal_handler(number, task.cancel)
    _logger.info("waiting for the broker at %s", settings.kafka.bootstrap)
    await wait_for_broker(settings.kafka)
    async with (
        Publisher(settings.kafka, settings.ingest.max_record_bytes) as publisher,
        Models(settings) as models,
        Flagger(settings.ingest, models, publisher) as flagger,
    ):
        worker = Runtime(settings, publisher, models, flagger)
        await worker.ingestor.check()
        host, port = listener.getsockname()[:2]
        runner = await health.serve(
            listener,
            status=worker.status,
            tails=lambda: worker.ingestor.tails,
            metrics=exposition(worker.status),
        )
        _logger.info("health endpoint on http://%s:%d/healthz", host, port)
        try:
            await worker.run()
        finally:
            await runner.cleanup()
        return worker.failure


def _report(failure: BaseException | None) -> int:
    if failure is None:
        return 0
    print(f"error: {failure}", file=sys.stderr)
    return failure.exit_code if isinstance(failure, JanusError) else 1


if __name__ == "__main__":
    sys.exit(main())
