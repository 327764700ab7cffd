# The entry point for people and CI. `make` lists the targets.
#
# Everything is installed on first use: Debian packages by middlebox/lab/install.py, Python packages into .venv.
# Root is needed for network namespaces, the kernel queue and Docker; sudo is used where we are not root.

SHELL := /bin/bash
SCENARIO ?= default
DRIVER ?= auto
CAPTURES ?= ../shared/captures
FLOWS ?= 5000
SEED ?= 1
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
RUN := .venv/bin
ORDINARY ?= build/ordinary
LABELLED := $(wildcard $(addsuffix /*/manifest.jsonl,$(CAPTURES)))

.DEFAULT_GOAL := help
.PHONY: help install format check docs test test-fast lab accuracy ordinary models clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Install the package and its tools into .venv

.venv/installed: pyproject.toml
	@command -v python3 >/dev/null || { echo 'installing python3' && \
		$(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq -y --no-install-recommends python3 >/dev/null; }
	@$(SUDO) python3 middlebox/lab/install.py build
	python3 -m venv .venv
	$(RUN)/pip install --quiet --editable '.[lab,dev,accuracy,ordinary,training]'
	@touch $@

format: install ## Format the code
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

check: install ## Format, lint, types, import contracts, shipped policies and their tests
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/pytest -q tests/test_import_contracts.py
	$(RUN)/middlebox check rules/*.yaml
	$(RUN)/middlebox test --strict rules/

docs: install ## Write what is made from the code: policy.schema.json, the reference in docs/policy.md
	$(RUN)/python -m middlebox.policy.publish
	$(RUN)/python -m middlebox.policy.rule_test_schema

test-fast: install ## Tests that need no root and no network: seconds
	$(RUN)/pytest -q -m 'not kernel and not lab and not docker'

test: check ## Every test there is: pure, kernel, rules, lab, Docker
	@$(SUDO) python3 middlebox/lab/install.py netns
	@$(SUDO) python3 middlebox/lab/install.py docker
	@$(SUDO) python3 middlebox/lab/install.py ordinary
	@$(SUDO) python3 middlebox/lab/install.py live
	$(SUDO) $(RUN)/pytest

lab: install ## Real clients through a real gateway: make lab SCENARIO=default DRIVER=docker|netns
	@$(SUDO) python3 middlebox/lab/install.py $(DRIVER)
	$(SUDO) $(RUN)/middlebox lab run $(SCENARIO) --driver $(DRIVER)

accuracy: install ## Measure every detector on labelled captures and on what `make ordinary` made: docs/accuracy.md
	@$(SUDO) python3 middlebox/lab/install.py accuracy
	$(RUN)/python -m middlebox.accuracy $(patsubst %/manifest.jsonl,%,$(filter-out %/hostile/manifest.jsonl,$(LABELLED))) \
	    $(patsubst %/manifest.jsonl,--hostile %,$(filter %/hostile/manifest.jsonl,$(LABELLED))) \
	    $(patsubst %/truth.jsonl,--ordinary %,$(wildcard $(ORDINARY)/truth.jsonl))

models: install ## Train the models again from training/flows/: middlebox/detect/models/, docs/models/
	$(RUN)/python training/train.py
	$(RUN)/ruff format --quiet middlebox/detect/models

ordinary: install ## Ordinary traffic by real programs, with the truth about it: make ordinary FLOWS=100000 SEED=1
	@$(SUDO) python3 middlebox/lab/install.py ordinary
	$(SUDO) $(RUN)/python -m middlebox.lab.ordinary --flows $(FLOWS) --seed $(SEED) --out build/ordinary

clean: ## Remove what was built, installed into .venv or cached
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
