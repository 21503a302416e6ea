"""Runs an ingest worker whose process stands still for as long as the test says when SIGHUP comes.

The C library's sleep is called with the interpreter lock held, so that no thread runs: as in an extension
that computes without releasing it.
"""

import ctypes
import os
import signal
import sys

from streams.ingest.worker import main

BLOCK_S = int(os.environ["BLOCK_S"])

signal.signal(signal.SIGHUP, lambda *_: ctypes.PyDLL(None).sleep(BLOCK_S))
sys.exit(main())
