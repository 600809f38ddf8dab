"""NATS and Redis for tests: one of each per test run, and in it a fresh name space per test.

A test owns its subject prefix and its Redis database number and deletes nothing. Tests that break a server start one of their own
(smtpfleet.local.servers, or a whole smtpfleet.local.fleet.Fleet). Loaded as a pytest plugin by tests/conftest.py.
"""

import itertools
from collections.abc import Iterator

import pytest

from smtpfleet.local.servers import NatsServer, RedisServer

_DATABASES = 4096
"""More than there are tests in one run."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A running nats-server with JetStream."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running redis-server that flushes before it replies."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), databases=_DATABASES)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats_prefix() -> str:
    """A first token of subjects that no other test uses."""
    return f"test{next(_numbers)}"


@pytest.fixture
def redis_database(redis_server: RedisServer) -> int:
    """The number of an empty database."""
    return next(_numbers) % _DATABASES


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_database: int) -> str:
    """URL of an empty database."""
    return f"redis://127.0.0.1:{redis_server.port}/{redis_database}"
