# Targets of this repository; `make help` lists them.
# Each installs what it needs: programs by tools/need, Python packages by tools/environment from requirements/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

environment := .venv
bin := $(environment)/bin
# Whatever a test starts finds our Python first. Compiled tests are kept: collection takes a third of the time.
with_tools := PATH="$(CURDIR)/$(bin):$$PATH" PYTHONDONTWRITEBYTECODE=
# A file's tests stay in one process, which makes what they share once; 13,000 tests one by one keep a third busy.
by_file := -n auto --dist loadfile --no-loadscope-reorder
paths := exporter tests deploy/docker deploy/helm deploy/rules $(wildcard benchmarks docs dashboards tools)

.PHONY: demo
demo: ## Run the exporter on a simulated host of 8 GPUs; ARGS=--web.listen-address=127.0.0.1:8080 for another port
	@tools/environment $(environment) requirements/runtime.lock
	@$(bin)/python -m exporter demo $(ARGS)

.PHONY: history
history: ## Reckon the last 90 days from a Prometheus: make history FROM=http://HOST:9090
	@[ -n "$(FROM)" ] || { echo "name your Prometheus: make history FROM=http://HOST:9090" >&2; exit 2; }
	@tools/environment $(environment) requirements/runtime.lock
	@$(bin)/python -m exporter history --from=$(FROM) $(ARGS)

.PHONY: test
test: programs develop ## Run the tests; ARGS='-k split' runs some
	@$(with_tools) tools/in_memory pytest $(by_file) -m "not slow and not nightly" $(ARGS)

.PHONY: slow
slow: programs develop ## Run the tests that take minutes: a year, faults, kills, rules in promtool
	@$(with_tools) tools/in_memory pytest -n auto --dist loadgroup -m "slow and not nightly" $(ARGS)

.PHONY: check
check: lint test slow ## Run ruff, the format check, mypy, the tests and the slow tests

.PHONY: update
update: programs develop ## Regenerate goldens, docs, dashboards, rules and manifests
	@tools/charts
	@for script in $(wildcard docs/generate.py dashboards/generate.py deploy/rules/generate.py deploy/helm/generate.py); do $(with_tools) python $$script; done
	@$(with_tools) pytest -n auto --dist loadgroup --update-golden

.PHONY: e2e
e2e: develop ## Run the exporter against real servers, a real Prometheus and a fake NVML library; PART=floods or others
	@tools/e2e programs
	@tools/e2e downloads
	@$(with_tools) tools/e2e $(or $(PART),tests) $(ARGS)

.PHONY: nightly
nightly: programs develop slow ## Run the slow tests and what the targets above leave out: new examples, 200 fault plans, 500 kills; over half an hour of CPU
	@$(with_tools) tools/in_memory pytest -n auto --dist loadgroup -m "nightly or hypothesis" --hypothesis-profile nightly --plans 200 --timeout 1200 $(ARGS)
	@tools/e2e programs
	@tools/e2e downloads
	@$(with_tools) tools/e2e nightly $(ARGS)
	@$(with_tools) python -m benchmarks.kills

.PHONY: deep
deep: programs develop ## Run the tests with 40 times the examples, new ones each run, 200 fault plans and a year with more ticks
	@$(with_tools) pytest -n auto --dist loadgroup --hypothesis-profile deep --plans 200 --timeout 3600 $(ARGS)

.PHONY: faults
faults: programs develop ## Run 200 seeded fault plans on a simulated host, and recalculate its ledger
	@$(with_tools) pytest tests/faults/test_plans.py -n auto --plans 200 $(ARGS)

.PHONY: soak
soak: programs develop ## Run a daemon for two hours and a simulated month under faults, and compare its ledger; ARGS='--hours 8'
	@$(with_tools) python -m benchmarks.soak $(ARGS)
	@$(with_tools) pytest tests/faults/test_month.py

.PHONY: mutants
mutants: programs develop ## Change operators of cost, tariff, ledger, engines and finance one at a time, and list changes without a failing test; two hours
	@$(with_tools) python tools/mutants.py $(ARGS)

.PHONY: pictures
pictures: programs develop ## Take the pictures of the page for the docs
	@tools/need chromium
	@tools/environment .cache/browser requirements/browser.lock
	@$(with_tools) pytest tests/e2e/test_page.py --pictures=docs/images $(ARGS)

.PHONY: docker-image
docker-image: ## Build the image of this checkout; IMAGE=registry.example/NAME pushes it there, DOCKER=podman builds by it
	@tools/docker-image $(IMAGE) $(ARGS)

.PHONY: sbom
sbom: ## Write the CycloneDX bill of materials of the image to build/sbom.json, or to ARGS
	@tools/environment .cache/image requirements/image.lock
	@mkdir -p build
	@PYTHONWARNINGS=ignore .cache/image/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file $(or $(ARGS),build/sbom.json) requirements/runtime.lock

.PHONY: release
release: ## Build every artifact of this commit into dist/, or ARGS=--out=DIR; refuses a tree with changes
	@tools/environment .cache/packing requirements/release.lock
	@.cache/packing/bin/python -m deploy.release $(ARGS)

.PHONY: test-release
test-release: programs develop ## Test packages on minimal hosts, image and chart; builds three times, half an hour, as root
	@tools/need debootstrap podman qemu-aarch64 rpm runc
	@tools/environment .cache/packing requirements/release.lock
	@tools/charts
	@$(with_tools) pytest tests/release $(ARGS)

.PHONY: test-vllm
test-vllm: programs develop ## Test with a real vLLM on the CPU; downloads 3.4 GB
	@$(with_tools) tests/vllm/run $(ARGS)

.PHONY: test-triton
test-triton: programs develop ## Test with a real Triton on the CPU; downloads 400 MB
	@$(with_tools) tests/triton/run $(ARGS)

.PHONY: test-litellm
test-litellm: programs develop ## Test with a real LiteLLM proxy; downloads 200 MB
	@$(with_tools) tests/litellm/run $(ARGS)

.PHONY: captures
captures: programs develop ## Run the engines that need no GPU, and record each at work; PART="max ray" runs some; an hour or more, 21 GB
	@$(with_tools) python -m tests.recordings.record build/recordings $(PART)

.PHONY: bench
bench: programs develop ## Measure the daemon and its peers and write docs/benchmarks.md; an hour, ARGS=--quick half an hour
	@tools/need prometheus-node-exporter
	@tools/environment .cache/peers requirements/peers.lock
	@$(with_tools) python -m benchmarks $(ARGS)

.PHONY: images
images: programs ## Draw the dashboards of a simulated fleet into docs/images
	@tools/need prometheus
	@tools/environment .cache/draw requirements/draw.lock
	@.cache/draw/bin/python dashboards/draw.py $(ARGS)

.PHONY: links
links: develop ## Request every address in README and docs; needs a network
	@$(bin)/python docs/links.py $(ARGS)

.PHONY: lock
lock: develop ## Pin versions in requirements/; ARGS=--upgrade takes the newest
	@$(bin)/python -m pip install --quiet uv
	@$(with_tools) tools/lock $(ARGS)

.PHONY: clean
clean: ## Remove everything that the other targets built
	@rm -rf $(environment) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

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
