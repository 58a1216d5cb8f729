"""What all tests share: in CI, random tests draw the same examples each time, so that a change is judged by what it changed; elsewhere they go on searching."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
