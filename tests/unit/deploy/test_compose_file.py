"""What must hold for every service of deploy/compose.yaml, read without an engine."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from smtpfleet.contracts.subjects import ROLES

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
QUEUE_KEY: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.queue-key.yaml").read_text())
LASTING = (*ROLES, "nats", "redis")


def test_roles_come_in_the_one_order() -> None:
    assert tuple(SERVICES)[: len(LASTING)] == LASTING


@pytest.mark.parametrize("name", LASTING)
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert "privileged" not in service
    assert service["stop_grace_period"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_built_from_its_folder_and_uses_its_own_nats_user(role: str) -> None:
    service = SERVICES[role]
    assert service["build"]["args"] == {"SERVICE": role}
    assert service["environment"]["SMTPFLEET_NATS_USER"] == role
    assert {"source": f"nats-{role}", "target": "nats"} in service["secrets"]


def test_only_queue_and_scheduler_know_where_redis_is() -> None:
    assert {role for role in ROLES if "SMTPFLEET_REDIS_URL" in SERVICES[role]["environment"]} == {"queue", "scheduler"}
    assert {name for name in LASTING if "redis" in SERVICES[name].get("secrets", [])} == {"queue", "scheduler", "redis"}
    assert {name for name in LASTING if "store" in SERVICES[name]["networks"]} == {"queue", "scheduler", "redis"}
    assert COMPOSE["networks"]["store"]["internal"] is True


def test_the_key_of_the_queue_is_for_queue_alone_and_no_public_one_exists() -> None:
    assert list(QUEUE_KEY["services"]) == ["queue"]
    queue = QUEUE_KEY["services"]["queue"]
    assert queue["environment"] == {"SMTPFLEET_QUEUE_KEY_FILE": f"/run/secrets/{queue['secrets'][0]}"}
    assert list(QUEUE_KEY["secrets"]) == queue["secrets"]
    assert not list((DEPLOY / "secrets" / "dev").glob("queue*"))
    assert "QUEUE_KEY" not in str(SERVICES)


def test_only_mda_mounts_the_homes() -> None:
    mounting = {name for name in LASTING if "mail" in str(SERVICES[name].get("volumes", ""))}
    assert mounting == {"mda"}


def test_admin_is_published_on_loopback_alone_and_wants_a_token() -> None:
    admin = SERVICES["admin"]
    assert all(port.startswith("127.0.0.1:") for port in admin["ports"])
    assert admin["environment"]["SMTPFLEET_ADMIN_TOKEN_FILE"] == "/run/secrets/admin-token"
    assert {name for name in LASTING if "ports" in SERVICES[name]} == {"smtp-in", "admin"}


@pytest.mark.parametrize(
    "line",
    ["appendonly yes", "appendfsync always", "maxmemory-policy noeviction", 'save ""', "no-appendfsync-on-rewrite no"],
)
def test_redis_flushes_every_write_and_evicts_nothing(line: str) -> None:
    assert line in (DEPLOY / "etc" / "redis.conf").read_text().splitlines()
