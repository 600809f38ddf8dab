"""`python -m smtpfleet.queue`: runs one replica of the queue role."""

from smtpfleet.mail.table_needs import all_tables
from smtpfleet.queue.app import QueueApp
from smtpfleet.queue.settings import QueueSettings
from smtpfleet.runtime.role import run_role

if __name__ == "__main__":
    run_role("queue", QueueSettings, QueueApp, all_tables)
