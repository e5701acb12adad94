# What to type. Every target installs what it needs; nothing is asked.
#
#   make demo ARGS="--minutes 2 --json"     options of the demo
#   make test ARGS="tests/unit -k broker"   a part of the tests
#   make setup PYTHON=/path/to/python3      another Python than the first 3.11+ on the path

BIN := .venv/bin

.PHONY: help setup tools demo broker test check bench kills failover fuzz backtest collector-kills actuator-kills command-attack crash-states \
	baseline-accuracy bench-cbl broker-matrix stream-chaos stream-soak bench-stream clean lock
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv with firmwatt and all it needs; quick when nothing changed
	@PYTHON="$(PYTHON)" deploy/setup.sh

tools: setup ## helm and promtool, for the tests of chart and alert rules; those are skipped without
	@deploy/tools.sh

demo: setup ## the whole loop on this machine, with a report
	@$(BIN)/firmwatt demo $(ARGS)

broker: setup ## one Apache Kafka node that stays; `.venv/bin/firmwatt broker stop` ends it
	@$(BIN)/firmwatt broker start $(ARGS)

test: setup ## every test, real broker included; those of chart and alert rules after `make tools` (ARGS: a part)
ifdef ARGS
	@$(BIN)/pytest $(ARGS)
else
	@$(BIN)/pytest --numprocesses 2 --dist loadfile tests/unit tests/conformance tests/real
	@$(BIN)/pytest tests/integration tests/e2e
endif

check: setup ## format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/yamllint --strict deploy/compose.yaml deploy/alerts deploy/examples deploy/helm/*/values.yaml \
		deploy/helm/*/Chart.yaml
	@$(BIN)/hadolint deploy/Dockerfile

bench: setup ## one JSON line a figure
	@set -e; for bench in tests/bench/bench_*.py; do PYTHONPATH=tests $(BIN)/python "$$bench" $(ARGS); done

bench-cbl: setup ## what baselines cost, 1,000 resources, every event hour of a year: hours (ARGS="--methods caiso-10-in-10")
	@PYTHONPATH=tests $(BIN)/python tests/bench/bench_cbl.py --full $(ARGS)

bench-stream: setup ## GPU samples a second from Kafka, beside what only reads it; freshness (ARGS="--part freshness --runs 1")
	@PYTHONPATH=tests $(BIN)/python -m bench.stream $(ARGS)

kills: setup ## kill the submitter with -9 again and again while the venue loses replies (ARGS="300 7": how often, seed)
	@PYTHONPATH=tests $(BIN)/python tests/long/kill_submitter.py $(or $(ARGS),300)

failover: setup ## kill or stop the primary under load while a standby waits (ARGS="50 7": how often, seed)
	@PYTHONPATH=tests $(BIN)/python tests/long/failover.py $(or $(ARGS),50)

fuzz: setup ## hostile documents against a venue's decoders (ARGS="ercot --seconds 1200 --seed 1")
	@PYTHONPATH=tests $(BIN)/python tests/long/fuzz_decoders.py $(or $(ARGS),ercot --seconds 1200 --seed 1)

backtest: setup ## the strategies over real prices: bidding/backtest/BACKTEST.md and its plots (ARGS="--weeks-apart 4")
	@$(BIN)/python -m bidding.backtest --out bidding/backtest/BACKTEST.md $(ARGS)

collector-kills: setup ## kill the collector with -9 while Kafka is away (ARGS="50 7 6": how often, seed, hours)
	@PYTHONPATH=tests $(BIN)/python tests/long/kill_collector.py $(or $(ARGS),50)

actuator-kills: setup ## kill the actuator with -9 in mid-curtailment, clocks set and Kafka away too (ARGS="200 7": how often, seed)
	@PYTHONPATH=tests $(BIN)/python tests/long/kill_actuator.py $(or $(ARGS),200)

command-attack: setup ## hostile commands against an actuator (ARGS="100000 7": how many, seed)
	@PYTHONPATH=tests $(BIN)/python tests/long/attack_commands.py $(or $(ARGS),100000)

crash-states: setup ## open the spool after every kind of power loss (ARGS="2000 7": how many, seed)
	@PYTHONPATH=tests $(BIN)/python tests/long/crash_spool.py $(or $(ARGS),2000)

broker-matrix: setup ## three brokers that are stopped, killed and bounced (ARGS="--cells hard-bounce --security scram")
	@PYTHONPATH=tests $(BIN)/python tests/long/broker_matrix.py $(ARGS)

stream-chaos: setup ## break the streaming pipeline and compare every interval (ARGS="--part workers --share 0.25")
	@PYTHONPATH=tests $(BIN)/python tests/long/stream_chaos.py $(ARGS)

stream-soak: setup ## memory, files and lag of two workers under an even load (ARGS="30 10": minutes, warm-up)
	@PYTHONPATH=tests $(BIN)/python tests/long/stream_soak.py $(ARGS)

baseline-accuracy: setup ## how far off baselines are on the real series: pipeline/cbl/ACCURACY.md and its plots
	@$(BIN)/python -m pipeline.cbl.accuracy_real $(or $(ARGS),pipeline/cbl/ACCURACY.md)

lock: setup ## resolve the dependencies in pyproject.toml anew (ARGS=--upgrade for newest)
	@$(BIN)/uv lock --quiet $(ARGS)
	@$(BIN)/python deploy/lock.py

clean: ## .venv, caches, runs
	@rm -rf .venv runs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
