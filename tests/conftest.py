"""Settings of Hypothesis: the same examples in every run, unless asked for a deep one.

``HYPOTHESIS_PROFILE=deep`` tries many more examples, other ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A slow machine is no fault of the code under test.
PATIENT = [HealthCheck.too_slow]

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    max_examples=100,
    suppress_health_check=PATIENT,
)
settings.register_profile(
    "deep",
    deadline=None,
    print_blob=True,
    max_examples=20_000,
    suppress_health_check=PATIENT,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
