# `make demo` rings once; `make test` runs the fast suite. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PIP_ROOT_USER_ACTION := ignore

BROKER ?= embedded
EVENTS ?= 20000
KILLS ?= 5
STALLS ?= 0
RUNS ?= 100
STEPS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help demo up test lint format bench chaos test-acceptance test-browser test-demo test-faults
.PHONY: bench-alerts bench-gateway test-chain chaos-alerts chaos-gateway rollouts test-kafka test-oracle
.PHONY: test-vllm demo-vllm kafka vllm lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.runtime ## ring once: a bad model version, a page, a rollback (about 3 minutes)
	$(BIN)/tocsin demo

demo-vllm: $(VENV)/.dev ## the loop on two real vLLMs and Apache Kafka (AVX-512, Java, Maven; SECURE=1)
	$(BIN)/python -m tests.demo_vllm $(if $(SECURE),--secure) $(DEMO)

up: $(VENV)/.runtime ## run the embedded stack until Ctrl-C
	$(BIN)/tocsin up

test: $(VENV)/.dev ## the fast suite, under 5 minutes
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(VENV)/.dev ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-acceptance: $(VENV)/.dev ## whole stacks: crashes, backtests, people, rollouts
	$(BIN)/python -m pytest -m acceptance tests/acceptance

test-browser: $(VENV)/.dev ## the pages in headless Chromium (packages chromium, chromium-driver)
	$(BIN)/python -m pytest -m browser tests/browser

test-demo: $(VENV)/.dev ## the whole demo, and what it left in the store
	$(BIN)/python -m pytest -m demo -s tests/demo

test-kafka: $(VENV)/.dev ## against real Apache Kafka (Java 17 and Maven)
	$(BIN)/python -m pytest -m kafka -s tests/kafka

test-faults: $(VENV)/.dev ## broker, store, workers, clock broken one by one (BROKER=kafka: on Apache Kafka)
	FAULTS_BROKER=$(BROKER) $(BIN)/python -m pytest -m faults -s tests/faults

chaos: $(VENV)/.dev ## kill -9 under load, then hold every figure (EVENTS, KILLS, STALLS, BROKER, SEED)
	$(BIN)/python -m tests.chaos --events $(EVENTS) --kills $(KILLS) --stalls $(STALLS) \
		--broker $(BROKER) $(if $(SEED),--seed $(SEED)) $(CHAOS)

test-vllm: $(VENV)/.dev ## the middleware on a real vLLM CPU server (AVX-512; builds .vllm-venv)
	$(BIN)/python -m pytest -m vllm -s tests/vllm

vllm: $(VENV)/bin/python ## build .vllm-venv: vLLM for CPUs and tiny random models (minutes, 6 GB)
	$(BIN)/python tests/support/vllm/setup.py

kafka: $(VENV)/.dev ## run Apache Kafka on 127.0.0.1:9092 until Ctrl-C (PORT; SECURE=1: SCRAM over TLS)
	$(BIN)/python -m tests.support.kafka_run $(if $(PORT),--port $(PORT)) $(if $(SECURE),--secure)

bench: $(VENV)/.dev ## Tocsin's core beside its peers (half an hour; BENCH="--help" for options)
	$(BIN)/python -m benchmarks.core --scale $(BENCH)

test-oracle: $(VENV)/.dev ## beside real Prometheus and Alertmanager (their Debian packages)
	$(BIN)/python -m pytest -m oracle tests

test-chain: $(VENV)/.dev ## the whole alert chain under any order of events, faults and crashes (STEPS)
	CHAIN_STEPS=$(STEPS) $(BIN)/python -m pytest -s tests/property/test_alert_chain.py tests/property/test_alert_machine.py

chaos-alerts: $(VENV)/.dev ## kill -9 at every point of the outbox x every notifier (RUNS)
	$(BIN)/python -m tests.chaos_alerts --runs $(RUNS) $(CHAOS)

bench-alerts: $(VENV)/.dev ## from an event to the pager, beside Prometheus; a storm of 10,000 series
	$(BIN)/python -m benchmarks.alert_storm
	$(BIN)/python -m benchmarks.alert_latency

bench-gateway: $(VENV)/.dev ## the gateway beside LiteLLM's proxy (installs it on its own)
	$(BIN)/python -m benchmarks.gateway

chaos-gateway: $(VENV)/.dev ## 20,000 requests through the gateway, with dying providers
	$(BIN)/python -m tests.chaos_gateway

rollouts: $(VENV)/.dev ## 200 simulated rollouts of each kind, and two executors over one action
	$(BIN)/python -m tests.rollouts
	$(BIN)/python -m tests.two_executors

lock: ## pin what pyproject.toml allows (needs uv)
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock
	uv pip compile -q pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -c requirements.lock -o requirements-dev.lock

clean: ## remove what was built; data in .tocsin stays
	rm -rf $(VENV) .bench-venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Tocsin needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) \
		|| { echo "No venv module: on Debian, apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing (once; a few hundred megabytes)"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
