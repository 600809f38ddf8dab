"""Starts the mda role: `python -m smtpfleet.mda`.

Settings come from the environment (settings.py), everything about mail from the configuration snapshot.
"""

from smtpfleet.mail.table_needs import userbases
from smtpfleet.mda.app import MdaApp
from smtpfleet.mda.settings import MdaSettings
from smtpfleet.runtime.role import run_role

if __name__ == "__main__":
    run_role("mda", MdaSettings, MdaApp, userbases)
