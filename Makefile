# smtpfleet: everything an operator or a developer starts. `make` alone lists it.
# Needs Python 3.11, make and git; all else goes into .venv, pinned with hashes (requirements/).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that really is a 3.11: a name on PATH may be a shim that is not.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(shell $(name) -c 'import sys; sys.version_info[:2] == (3, 11) and print("$(name)")' 2>/dev/null)))
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# tests wait more than they work
PYTEST_WORKERS ?= 3
OURS   := libs/contracts libs/mail libs/runtime \
          services/config services/smtp-in services/queue services/scheduler services/mta services/mda services/admin \
          deploy/local
ROLES  := config smtp-in queue scheduler mta mda admin
SOURCES := $(addsuffix /src,$(OURS))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt $(addsuffix /pyproject.toml,$(OURS))
	@test -n "$(PYTHON)" || { echo 'make: Python 3.11 is needed; none on PATH. Name it: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@echo 'make: setting up $(VENV)'
	@# of its own accord: whatever is installed beside the interpreter does not count
	@$(PYTHON) -m venv --clear $(VENV) || { echo 'make: no venv module; on Debian: apt-get install python3.11-venv' >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-index --no-build-isolation $(addprefix -e ,$(OURS))
	@touch $@

.PHONY: setup
setup: $(READY) ## make .venv (every other target does it when needed)

.PHONY: up
up: $(READY) ## run the whole fleet here: SMTP 127.0.0.1:2525, admin 127.0.0.1:8025, data in var/
	@exec $(BIN)/python -m smtpfleet.local up

.PHONY: mail
mail: $(READY) ## send a first message to alice@example.test through the running fleet
	@$(BIN)/python -m smtpfleet.local send alice@example.test

.PHONY: demo
demo: $(READY) ## send mail through the running fleet, local and relayed, and show each message's trace
	@$(BIN)/python -m smtpfleet.local demo

.PHONY: test
test: $(READY) ## unit, wire, dialog and path tests (under five minutes)
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile -m 'not deploy and not failure and not slow and not interop' $(PYTEST_ARGS)

# not pinned together with ours, for it wants an older cryptography; where it cannot be had its tests are skipped
$(VENV)/sslyze/.ready: $(READY) requirements/sslyze.txt
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements/sslyze.txt && touch $@ \
	  || { rm -rf $(@D); echo 'make: sslyze could not be installed'; }

.PHONY: test-interop
test-interop: $(READY) $(VENV)/sslyze/.ready ## beside programs no one here wrote; what is not installed is skipped, with the reason
	$(BIN)/pytest -rs -m interop $(PYTEST_ARGS)

# each target so long; what is found is written to tests/corpus/<target> and stays there as a test
FUZZ_SECONDS ?= 20
.PHONY: fuzz
fuzz: $(READY) ## fuzz by coverage what reads foreign bytes and smtpd.conf, FUZZ_SECONDS each
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

.PHONY: test-failure
test-failure: $(READY) ## kill points and faults, one by one
	$(BIN)/pytest -m 'failure or (slow and not deploy)' $(PYTEST_ARGS)

.PHONY: test-deploy
test-deploy: $(READY) ## build the images, run compose with mta=3, send, kill, scale down (needs Docker)
	$(BIN)/pytest -p no:randomly -m deploy tests/deploy $(PYTEST_ARGS)

.PHONY: check
check: $(READY) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES) bench requirements deploy/nats_permissions.py deploy/passwords.py tests/deploy tests/unit/deploy tests/unit/local
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(READY) ## let ruff format and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

.PHONY: chaos
chaos: $(READY) ## break things under load and count what is lost (docs/reliability.md)
	$(BIN)/python -m bench.chaos $(CHAOS_ARGS)

.PHONY: bench
bench: $(READY) ## measure, beside Postfix and OpenSMTPD where they are installed (bench/RESULTS.md)
	$(BIN)/python -m bench.run $(BENCH_ARGS)

# uv only resolves and writes; pip installs what it wrote. `make lock UPGRADE=--upgrade` moves every pin.
UV_COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate \
             --no-emit-index-url --universal --python-version 3.11
.PHONY: lock
lock: $(READY) ## write requirements/*.txt anew from the pyproject files
	@test -x $(VENV)/lock/bin/uv || { $(BIN)/python -m venv $(VENV)/lock; $(VENV)/lock/bin/pip install -qq --disable-pip-version-check uv; }
	$(BIN)/python requirements/inputs.py
	cd requirements && ../$(UV_COMPILE) $(UPGRADE) dev.in -o dev.txt
	cd requirements && for name in $(ROLES) build; do ../$(UV_COMPILE) --constraint dev.txt $$name.in -o $$name.txt; done
	cd requirements && ../$(UV_COMPILE) $(UPGRADE) sslyze.in -o sslyze.txt

.PHONY: secrets
secrets: ## passwords of your own for deploy/compose.yaml, into deploy/secrets/ (default: those in the repository)
	@$(PYTHON) deploy/passwords.py

.PHONY: clean
clean: ## remove .venv and caches; var/ with its queue and mail stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
