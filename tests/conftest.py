"""Plugins of all tests."""

from hypothesis import settings

pytest_plugins = ["tests.support.servers"]

# Two busy cores may take 200 ms for anything once: how long an example takes is no property of ours.
settings.register_profile("smtpfleet", deadline=None)
settings.load_profile("smtpfleet")
