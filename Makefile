# `make` alone lists the targets. Everything is made in this folder; the Python packages are in .venv.

PYTHON ?= python3
PIP = python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME
# Ctrl-C also reaches the program, which reports it in one line. The shell and make print no line of their own.
SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c 'trap "exit 0" INT; eval "$$0"'
# Prints dots on a terminal while a command is silent for minutes. (After Ctrl-C, only pip prints a message itself.)
waiting = $(if $(findstring pip,$(1)),,trap 'echo "make: interrupted" >&2; exit 0' INT;) if [ -t 2 ]; then (while sleep 2 && kill -0 $$$$ 2>/dev/null; do printf . >&2; done) & dots=$$!; fi; \
  $(1); status=$$?; [ -z "$$dots" ] || { kill $$dots; echo >&2; }; exit $$status
.DEFAULT_GOAL := help
.PHONY: help venv go java soap run models cookbook exports serve interop test test-slow bench clean

help: ## list the targets
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: .venv/complete ## make the Python environment in .venv

go: go_consumer/go_consumer ## build the Go consumer

java: java_consumer/target/java_consumer.jar ## build the Java consumer

soap: serving/soap_service/target/soap_service.jar ## build the SOAP service

run: venv ## train, consume and freeze the model, in three languages (minutes the first time, for the packages)
	@echo "== python model_producer.py: train, and write exported_graphs, saved_model and summaries"
	@python model_producer.py
	@echo "== python model_consumer.py: restore the newest checkpoint and calculate"
	@python model_consumer.py
	@echo "== ./freeze_graph_linear_regression.sh: write frozen_graphs"
	@./freeze_graph_linear_regression.sh
	@echo "== python model_consumer.py --model frozen_graphs/frozen_linear_regression.pb: calculate with it"
	@python model_consumer.py --model frozen_graphs/frozen_linear_regression.pb
	@if command -v go >/dev/null; then \
	  $(MAKE) --silent --no-print-directory go && echo "== go_consumer/go_consumer: the same in Go" && go_consumer/go_consumer; \
	else echo "== go_consumer: passed over, there is no go here (Go 1.22 or later)"; fi
	@if command -v mvn >/dev/null; then \
	  $(MAKE) --silent --no-print-directory java && echo "== java -jar java_consumer/target/java_consumer.jar: the same in Java" && \
	  java -jar java_consumer/target/java_consumer.jar; \
	else echo "== java_consumer: passed over, there is no mvn here (a JDK, 17 or later, and Maven)"; fi

# In the order of the cookbook's page: later recipes read what earlier ones wrote.
RECIPES = checkpoint_save checkpoint_restore checkpoint_subset checkpoint_from_scratch checkpoint_multiple_models \
  inspect_model inspect_checkpoint freezemodel_save freezemodel_load freezemodel_multiple freezemodel_from_keras \
  freezemodel_c_library freezemodel_to_litert savedmodel_from_source savedmodel_from_checkpoint savedmodel_from_frozen savedmodel_builder \
  savedmodel_pretrained

cookbook: frozen_graphs/SHA256SUMS frozen_graphs/cnn.pb ## run all recipes of the cookbook (two minutes)
	@for recipe in $(RECIPES); do \
	  echo "== python cookbook/$$recipe.py"; python cookbook/$$recipe.py || exit 1; \
	done
	@echo "== cookbook/freezemodel_c_library.c"
	@. ./go_consumer/env.sh && gcc -o results/freezemodel_c_library $$CGO_CFLAGS cookbook/freezemodel_c_library.c \
	  $$CGO_LDFLAGS -ltensorflow && TF_CPP_MIN_LOG_LEVEL=3 results/freezemodel_c_library 2>/dev/null

models: frozen_graphs/cnn.pb ## make the main page's example models, and freeze them

frozen_graphs/cnn.pb: .venv/complete
	@echo "== python cookbook/example_models.py, and model_freeze.py on what it writes"
	@python cookbook/example_models.py
	@python model_freeze.py --model results/mlp --input x --output y --feed keep_prob=1 --save frozen_graphs/mlp.pb
	@python model_freeze.py --model results/flowers --save frozen_graphs/flowers.pb
	@python model_freeze.py --model results/cnn.keras --save $@

exports: frozen_graphs/SHA256SUMS ## write the SavedModels for serving into exports
	@python cookbook/savedmodel_from_checkpoint.py --checkpoint saved_model --input x=inputs/x_sample \
	  --output y=linear_regression/add --save exports/linear_regression/1
	@python cookbook/savedmodel_from_source.py
	@python cookbook/checkpoint_save.py
	@python cookbook/savedmodel_from_checkpoint.py --save exports/classifier/1
	@python cookbook/savedmodel_builder.py

serve: .venv/serving-complete ## serve the exports over REST (port 8501) and gRPC (8500), until Ctrl-C
	@test -d exports/classifier -a -d exp_model || $(MAKE) --no-print-directory exports
	@echo "== python serving/model_server.py --model_config_file serving/models.config"
	@exec python serving/model_server.py --model_config_file serving/models.config

interop: cookbook exports .cache/tf2onnx/complete .cache/openvino/complete .cache/node/complete ## run the exports in other programs and compare
	@python tests/interop/expected.py
	@python tests/interop/saved_model_command.py
	@.cache/tf2onnx/bin/python tests/interop/onnx_runtime.py
	@.cache/openvino/bin/python tests/interop/open_vino.py
	@.cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py
	@node cookbook/freezemodel_onnx.mjs

frozen_graphs/SHA256SUMS: .venv/complete
	@echo "== python model_producer.py && ./freeze_graph_linear_regression.sh: what the recipes read"
	@python model_producer.py >/dev/null && ./freeze_graph_linear_regression.sh

# Separate environments, because their packages conflict with the project's.
.cache/%/complete: tests/interop/%.txt .venv/complete
	@echo "== making an environment for $* in .cache/$*"
	@rm -rf $(@D) && python -m venv $(@D)
	@$(call waiting,$(@D)/bin/python -m pip --quiet --disable-pip-version-check install --requirement $<)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --editable .
	@touch $@

# ONNX Runtime for JavaScript, as WebAssembly. (Its Node package downloads its library from elsewhere.)
.cache/node/complete:
	@command -v npm >/dev/null || { echo "make: no npm (install Node.js 20 or later)" >&2; exit 1; }
	@mkdir -p $(@D)
	@npm install --silent --prefix $(@D) onnxruntime-web@1.30.0
	@touch $@

test: .venv/tests-complete ## run the tests (six minutes, the first time eight); Java's own run as it is built
	@$(MAKE) --no-print-directory --jobs 2 --output-sync go java soap
	@. ./go_consumer/env.sh && go vet ./go_consumer/... && go test ./go_consumer/...
	@python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

test-slow: .venv/tests-complete .venv/distributed-complete go java soap ## run the long tests: kills, full disks, Spark, TensorFlow 1.8 (half an hour)
	@python -m pytest -m slow

bench: venv .cache/tf2onnx/complete .venv/bench-complete .venv/serving-complete .venv/distributed-complete go java cookbook exports ## compare everything with a minimal baseline, into docs/benchmarks.md (three quarters of an hour)
	@python benchmarks/report.py

clean: ## remove all that the other targets made
	rm -rf .venv .cache saved_model summaries frozen_graphs results recovery exports exp_model *.egg-info
	rm -rf go_consumer/go_consumer go.work.sum java_consumer/target serving/soap_service/target
	find . -name __pycache__ -prune -exec rm -rf {} +

# TensorFlow 2.21 has packages for Python 3.11 to 3.13 (and for 3.10, which is no longer supported).
.venv/complete: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no $(PYTHON) (install Python 3.11 to 3.13, or name it: make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "make: $$($(PYTHON) --version) does not fit (install Python 3.11 to 3.13, or name it: make PYTHON=python3.12)" >&2; \
	  exit 1; }
	@echo "== making the Python environment .venv: TensorFlow and its packages, 2 GB on disk, a few minutes"
	@rm -f .venv/*complete
	@$(PYTHON) -m venv .venv || { \
	  echo "make: $(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(call waiting,$(PIP) --requirement requirements.txt --editable .)
	@touch $@

.venv/serving-complete: .venv/complete serving/requirements.txt
	@echo "== adding what the servers need"
	@$(call waiting,$(PIP) --requirement serving/requirements.txt)
	@touch $@

.venv/distributed-complete: .venv/complete distributed/requirements.txt
	@echo "== adding what the distributed engines need: Spark, 500 MB"
	@$(call waiting,$(PIP) --requirement distributed/requirements.txt)
	@touch $@

.venv/tests-complete: .venv/complete .venv/serving-complete tests/requirements.txt
	@echo "== adding what only the tests need"
	@$(call waiting,$(PIP) --requirement tests/requirements.txt)
	@touch $@

GO_SOURCES = go.work $(shell find go_consumer -name '*.go' -o -name 'go.*' -o -name env.sh)

go_consumer/go_consumer: .venv/complete $(GO_SOURCES)
	@command -v go >/dev/null || { echo "make: no go (install Go 1.22 or later: https://go.dev/dl)" >&2; exit 1; }
	@echo "== building go_consumer: a minute the first time"
	@$(call waiting,. ./go_consumer/env.sh && go mod download && go build -o go_consumer/ ./go_consumer)

# Maven always ends its output with an escape code, whatever its options.
PLAIN = sed 's/\x1b\[[0-9;]*m//g'

java_consumer/target/java_consumer.jar: java_consumer/pom.xml $(shell find java_consumer/src -name '*.java')
	@command -v mvn >/dev/null || { echo "make: no mvn (install a JDK, 17 or later, and Maven)" >&2; exit 1; }
	@echo "== building java_consumer: minutes the first time, for TensorFlow's library (160 MB)"
	@$(call waiting,mvn --quiet --file java_consumer package 2>&1 | $(PLAIN))

serving/soap_service/target/soap_service.jar: serving/soap_service/pom.xml java_consumer/target/java_consumer.jar $(shell find serving/soap_service/src -name '*.java')
	@echo "== building serving/soap_service"
	@$(call waiting,mvn --quiet --file serving/soap_service package 2>&1 | $(PLAIN))

.venv/bench-complete: .venv/complete benchmarks/requirements.txt
	@for tool in mawk:mawk wrk:wrk h2load:nghttp2-client; do command -v $${tool%:*} >/dev/null || { \
	  echo "make: no $${tool%:*} (on Debian and Ubuntu: apt-get install $${tool#*:})" >&2; exit 1; }; done
	@echo "== adding what only the benchmarks need"
	@$(call waiting,$(PIP) --requirement benchmarks/requirements.txt)
	@touch $@
