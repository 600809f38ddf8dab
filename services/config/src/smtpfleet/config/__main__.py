"""Starts the config role: `python -m smtpfleet.config`.

Settings come from the environment (settings.py), everything about mail from the file they name.
"""

from smtpfleet.config.app import ConfigApp
from smtpfleet.config.settings import ConfigSettings
from smtpfleet.mail.table_needs import all_tables
from smtpfleet.runtime.role import run_role

if __name__ == "__main__":
    run_role("config", ConfigSettings, ConfigApp, all_tables)
