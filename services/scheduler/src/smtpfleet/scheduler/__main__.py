"""`python -m smtpfleet.scheduler`: runs one replica of the scheduler role."""

from smtpfleet.runtime.role import run_role
from smtpfleet.scheduler.app import SchedulerApp
from smtpfleet.scheduler.settings import SchedulerSettings

if __name__ == "__main__":
    run_role("scheduler", SchedulerSettings, SchedulerApp)
