"""Runs the mta role; all it does is name the app and the settings."""

from smtpfleet.mail.table_needs import relay_tables
from smtpfleet.mta.app import MtaApp
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.runtime.role import run_role


def main() -> None:
    """Entry point of the distribution."""
    run_role("mta", MtaSettings, MtaApp, relay_tables)


if __name__ == "__main__":
    main()
