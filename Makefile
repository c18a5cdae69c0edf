# The verbs of this repository; `make help` lists them.
# Each brings what it needs: programs by tools/need, Python packages by tools/environment from requirements/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

environment := .venv
bin := $(environment)/bin
# Whatever a test starts finds our Python first. Compiled tests are kept: collection takes a third of the time.
with_tools := PATH="$(CURDIR)/$(bin):$$PATH" PYTHONDONTWRITEBYTECODE=
paths := exporter tests deploy/docker deploy/helm deploy/rules $(wildcard benchmarks docs dashboards tools)

.PHONY: demo
demo: ## Run the exporter on a simulated host of 8 GPUs; needs no GPU and no configuration
	@tools/environment $(environment) requirements/runtime.lock
	@$(bin)/python -m exporter demo $(ARGS)

.PHONY: test
test: programs develop ## Run the tests; ARGS='-k split' runs some
	@$(with_tools) pytest -n auto --dist loadgroup -m "not slow" $(ARGS)

.PHONY: slow
slow: programs develop ## Run the tests that take minutes: a year, faults, kills, the rules in a real promtool
	@$(with_tools) pytest -n auto --dist loadgroup -m slow $(ARGS)

.PHONY: check
check: lint test slow ## Run ruff, the format check, mypy and the tests, slow ones as well

.PHONY: update
update: programs develop ## Write again everything that is generated: goldens, docs, dashboards, rules, manifests
	@tools/charts
	@for script in $(wildcard docs/generate.py dashboards/generate.py deploy/rules/generate.py deploy/helm/generate.py); do $(with_tools) python $$script; done
	@$(with_tools) pytest -n auto --dist loadgroup --update-golden

.PHONY: e2e
e2e: develop ## Run the exporter against real servers, a real Prometheus and a fake NVML library
	@tools/e2e programs
	@tools/e2e downloads
	@$(with_tools) tools/e2e tests $(ARGS)

.PHONY: deep
deep: programs develop ## Run the tests with 20 times the examples, others each time, 200 plans of faults and a year of closer ticks
	@$(with_tools) pytest -n auto --dist loadgroup --hypothesis-profile deep --plans 200 --timeout 3600 $(ARGS)

.PHONY: faults
faults: programs develop ## Break a simulated host by 200 seeded plans of faults, and reckon its books
	@$(with_tools) pytest tests/faults -n auto --plans 200 $(ARGS)

.PHONY: mutants
mutants: programs develop ## Change operators of cost, tariff, ledger and engines one at a time: which tests notice; takes an hour
	@$(with_tools) python tools/mutants.py $(ARGS)

.PHONY: pictures
pictures: programs develop ## Take the pictures of the page that the docs show
	@tools/need chromium
	@tools/environment .cache/browser requirements/browser.lock
	@$(with_tools) pytest tests/e2e/test_page.py --pictures=docs/images $(ARGS)

.PHONY: sbom
sbom: ## Write the CycloneDX bill of materials of what the image brings to build/sbom.json; ARGS is another place
	@tools/environment .cache/image requirements/image.lock
	@mkdir -p build
	@PYTHONWARNINGS=ignore .cache/image/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file $(or $(ARGS),build/sbom.json) requirements/runtime.lock

.PHONY: test-vllm
test-vllm: programs develop ## The same against a real vLLM on the CPU; downloads 3.4 GB
	@$(with_tools) tests/vllm/run $(ARGS)

.PHONY: test-triton
test-triton: programs develop ## Read a real Triton on the CPU; downloads 400 MB
	@$(with_tools) tests/triton/run $(ARGS)

.PHONY: test-litellm
test-litellm: programs develop ## Divide a real server between teams by a real LiteLLM proxy; downloads 200 MB
	@$(with_tools) tests/litellm/run $(ARGS)

.PHONY: bench
bench: programs develop ## Measure the daemon beside its peers and write docs/benchmarks.md; takes half an hour, ARGS=--quick ten minutes
	@tools/need prometheus-node-exporter
	@tools/environment .cache/peers requirements/peers.lock
	@$(with_tools) python -m benchmarks $(ARGS)

.PHONY: images
images: programs ## Draw what the dashboards show of a simulated fleet, into docs/images
	@tools/need prometheus
	@tools/environment .cache/draw requirements/draw.lock
	@.cache/draw/bin/python dashboards/draw.py $(ARGS)

.PHONY: links
links: develop ## Ask every address that README and docs lead to whether it is there; needs a network
	@$(bin)/python docs/links.py $(ARGS)

.PHONY: lock
lock: develop ## Pin versions in requirements/; ARGS=--upgrade takes the newest
	@$(bin)/python -m pip install --quiet uv
	@$(with_tools) tools/lock $(ARGS)

.PHONY: clean
clean: ## Remove everything that the other verbs built
	@rm -rf $(environment) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help
help: ## List the verbs
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: programs
programs:
	@tools/need amtool cc ip promtool systemd-analyze venv

.PHONY: develop
develop:
	@tools/environment $(environment) requirements/develop.lock
	@tools/editable $(environment)

.PHONY: lint
lint: ruff
	@$(bin)/mypy
	@$(bin)/python docs/generate.py --check

.PHONY: ruff
ruff: develop ## Run ruff and the format check alone
	@$(bin)/ruff check $(paths)
	@$(bin)/ruff format --check $(paths)
