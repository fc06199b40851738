"""Settings of Hypothesis: the same examples in every run, unless asked for a deep one.

``HYPOTHESIS_PROFILE=deep`` tries many more examples, other ones each time; ``mutation`` the
same as without, but it does not look for a smaller one once one has failed.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

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
settings.register_profile(
    "mutation",
    settings.get_profile("repeatable"),
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
