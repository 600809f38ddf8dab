"""Who has which password, as tests give it; and failures that are counted as ever but answered at once, or nearly."""

from smtpfleet.mail.tables import TableError
from smtpfleet.smtp_in.failures import LocalFailures


class Credentials:
    """A CredentialSource; `values` by user, `is_down` for a table that cannot answer."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.is_down = False
        self.asked: list[tuple[str, str]] = []

    async def lookup_credentials(self, table: str, user: str) -> str | None:
        self.asked.append((table, user))
        if self.is_down:
            raise TableError("backend is down")
        return self.values.get(user.lower())


class QuickFailures(LocalFailures):
    """Counts as the real ones; the reply waits a hundredth."""

    async def note_failure(self, user: str, peer: str) -> float:
        return await super().note_failure(user, peer) / 100
