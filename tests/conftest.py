"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples in every run, here and in CI: a run that fails fails again, and a change is judged by itself.
# What random examples find beyond them is looked for with `pytest --hypothesis-profile explore`.
# A shared machine stalls for seconds at a time: neither a slow example nor slow drawing is a failure.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _PATIENT, derandomize=False, print_blob=True)
settings.register_profile("repeatable", _PATIENT, derandomize=True, database=None)
settings.load_profile("repeatable")
