"""Peers of the deploy tests: some connections that send marked messages and, as an MTA does, try again what was not acknowledged.

What is in `acknowledged` was answered with 250 after its final dot; each of these must arrive.
"""

import smtplib
import threading
import time

RETRY_S = 0.3
MAILS_PER_SESSION = 50
"""Half of what contracts.configuration.DEFAULT_LIMITS lets a session send."""
MESSAGE = "From: peer@example.org\r\nSubject: load\r\nX-Mark: {mark}\r\n\r\n" + "x" * 70 + "\r\n"


class Senders:
    """`with Senders(port, rcpts) as senders: …`; at the end every message that was begun is acknowledged, or the test fails."""

    def __init__(
        self, port: int, run: str, rcpts: tuple[str, ...], connections: int = 4, pause_s: float = 0.02
    ) -> None:
        self._port = port
        self._run = run
        self._rcpts = rcpts
        self._pause_s = pause_s
        self._ending = threading.Event()
        self.acknowledged: set[str] = set()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(connections)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(90)
        stuck = [thread for thread in self._threads if thread.is_alive()]
        assert not stuck, (
            f"{len(stuck)} connections could not get their last message in; last failures: {self.failures[-3:]}"
        )

    def _send(self, number: int) -> None:
        client: smtplib.SMTP | None = None
        count = 0
        while not self._ending.is_set():
            mark = f"{self._run}-{number}-{count}"
            rcpt = self._rcpts[count % len(self._rcpts)]
            gives_up_at = time.monotonic() + 80
            while mark not in self.acknowledged and time.monotonic() < gives_up_at:
                try:
                    if client is None:
                        client = smtplib.SMTP("127.0.0.1", self._port, local_hostname="peer.example.org", timeout=15)
                    client.sendmail("peer@example.org", [rcpt], MESSAGE.format(mark=mark))
                    self.acknowledged.add(mark)
                except (OSError, smtplib.SMTPException) as error:
                    self.failures.append(f"{mark}: {error!r}")
                    if client is not None:
                        client.close()
                    client = None
                    time.sleep(RETRY_S)
            count += 1
            if client is not None and count % MAILS_PER_SESSION == 0:
                client.close()  # QUIT would wait for a reply that a killed smtp-in never gives
                client = None
            time.sleep(self._pause_s)
        if client is not None:
            client.close()
