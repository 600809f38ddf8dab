"""Starts the admin role: `python -m smtpfleet.admin`.

Settings come from the environment (settings.py); a token or a loopback address is required.
"""

from smtpfleet.admin.app import AdminApp
from smtpfleet.admin.settings import AdminSettings
from smtpfleet.runtime.role import run_role

if __name__ == "__main__":
    run_role("admin", AdminSettings, AdminApp)
