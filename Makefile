# What a newcomer needs; `make help` lists it, and CONTRIBUTING.md what is below tools/.
# Each target installs what it needs: programs by tools/need, Python packages by tools/environment from requirements/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

.PHONY: demo
demo: ## Run the exporter on a simulated host of 8 GPUs; ARGS=--web.listen-address=127.0.0.1:8080 for another port
	@tools/environment .venv requirements/runtime.lock
	@.venv/bin/python -m exporter demo $(ARGS)

# A file's tests stay in one process, which makes what they share once; 13,000 tests one by one keep a third busy.
.PHONY: test
test: ## Run the tests; ARGS='-k split' runs some
	@tools/develop tools/in_memory pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not nightly" $(ARGS)

.PHONY: check
check: ## Run ruff, the format check, mypy, the tests and the slow tests
	@tools/lint
	@$(MAKE) --no-print-directory test
	@tools/slow $(ARGS)

.PHONY: update
update: ## Regenerate goldens, docs, dashboards, rules and manifests
	@tools/charts
	@for script in docs dashboards deploy/rules deploy/helm; do tools/develop python $$script/generate.py; done
	@tools/develop pytest -n auto --dist loadgroup --update-golden

.PHONY: e2e
e2e: ## Run the exporter against real servers, a real Prometheus and a fake NVML library; PART=floods or others
	@tools/e2e programs
	@tools/e2e downloads
	@tools/develop tools/e2e $(or $(PART),tests) $(ARGS)

.PHONY: release
release: ## Build every artifact of this commit into dist/, or ARGS=--out=DIR; refuses a tree with changes
	@tools/environment .cache/packing requirements/release.lock
	@.cache/packing/bin/python -m deploy.release $(ARGS)

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
