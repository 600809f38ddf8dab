"""Who has which password, as tests give it; and failures that are counted as ever but answered at once, or nearly."""

from smtpfleet.mail.tables import TableError
from smtpfleet.smtp_in.credentials import HAS_NO_PASSWORDS, HasNoPasswords
from smtpfleet.smtp_in.failures import LocalFailures


class Credentials:
    """A CredentialSource; `values` by user, `is_down` for a table that cannot answer. checked: clear passwords by user, of a table that
    has none to show."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.is_down = False
        self.checked: dict[str, str] | None = None
        self.asked: list[tuple[str, str]] = []

    async def lookup_credentials(self, table: str, user: str) -> str | HasNoPasswords | None:
        self.asked.append((table, user))
        if self.is_down:
            raise TableError("backend is down")
        return HAS_NO_PASSWORDS if self.checked is not None else self.values.get(user.lower())

    async def check_password(self, table: str, user: str, password: str) -> bool:
        assert self.checked is not None
        self.asked.append((table, f"{user}:{password}"))
        return self.checked.get(user) == password


class QuickFailures(LocalFailures):
    """Counts as the real ones; the reply waits a hundredth."""

    async def note_failure(self, user: str, peer: str) -> float:
        return await super().note_failure(user, peer) / 100
