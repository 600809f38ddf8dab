"""The smtp-in process: `python -m smtpfleet.smtp_in`. Settings come from the environment (settings.py), the rest from the snapshot."""

from smtpfleet.mail.table_needs import all_tables
from smtpfleet.runtime.role import run_role
from smtpfleet.smtp_in.app import SmtpIn
from smtpfleet.smtp_in.settings import SmtpInSettings

if __name__ == "__main__":
    run_role("smtp-in", SmtpInSettings, SmtpIn, all_tables)
