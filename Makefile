# `make demo` and `make test` do all their set-up themselves; `make install` is that set-up alone.

# The newest Python for which MindSpore and TensorFlow have packages. Asked to run: pyenv has names for what it has not.
PYTHON ?= $(shell for version in 3.12 3.11; do python$$version -c 'import venv' 2>/dev/null && echo python$$version && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
EDGE   ?= build/edge-venv

NO_PYTHON = neither Python 3.11 nor 3.12 is here, for which MindSpore and TensorFlow have packages; install one, or with uv \
    (pip install uv): uv python install 3.12, then: make PYTHON="$$(uv python find 3.12)"

.PHONY: help install install-demo lint check test docs golden fuzz test-edge test-oldest test-arm64 compat compat-newest demo networks lock clean

help:
	@echo "make install   everything into $(VENV)"
	@echo "make demo      the whole way on a trained checkpoint and images that come with the project"
	@echo "make check     the daily loop: ruff, mypy and every test that needs neither MindSpore, TensorFlow nor a"
	@echo "               device; what MindSpore answers is recorded in tests/data"
	@echo "make test      ruff, mypy and every test, MindSpore itself beside its recorded answers"
	@echo "make lint      ruff and mypy alone"
	@echo "make docs      the documentation site, in build/site"
	@echo "make golden    record anew what MindSpore and TensorFlow make for the tests, into tests/data"
	@echo "make fuzz [FUZZ=ledger] [FUZZ_SECONDS=600]"
	@echo "               damaged and hostile files of every kind, or of one, to every reader (tests/fuzz)"
	@echo "make test-edge [EDGE_PYTHON=python3.12]"
	@echo "               every test that needs no more than a device has, with the newest packages, in $(EDGE)"
	@echo "make test-oldest"
	@echo "               the same with the oldest packages that pyproject.toml takes, on Python 3.11, in $(OLDEST)"
	@echo "make test-arm64 [ARTIFACTS='A.tflite ...']"
	@echo "               the benchmark on the real ARM64 LiteRT under emulation (needs Debian's qemu-user, gcc,"
	@echo "               debian-archive-keyring); artifacts: outputs against x86, and instructions an inference;"
	@echo "               after make demo, as root: the docs' install commands on a fresh Debian (debootstrap, qemu-user-static)"
	@echo "make compat    build/demo's artifacts in old, pinned and newest runtimes: writes docs/compatibility.md"
	@echo "make compat-newest"
	@echo "               five artifacts in the newest runtimes that make compat has found (make test's companion in CI)"
	@echo "make networks  networks of MindCV through every format: writes docs/networks.md (an hour; goes on where it stopped)"
	@echo "make lock      write locks/ anew from pyproject.toml"
	@echo "make clean     remove build/"

install: $(VENV)/.installed

# What the demo runs: no torch, no Ray, no timm, no MindCV.
install-demo: $(VENV)/.installed-demo

$(BIN)/uv:
	@test -n "$(PYTHON)" || { echo 'make: $(NO_PYTHON)' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

$(VENV)/.installed: pyproject.toml locks/export.txt | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint locks/export.txt --editable '.[all,dev]'
	touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-demo: pyproject.toml locks/export.txt | $(BIN)/uv
	@echo "installing MindSpore, TensorFlow, OpenVINO and what else the demo runs: 1.8 GB to download, 5.4 GB on disk in $(VENV)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint locks/export.txt --editable '.[export,evaluate]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file of tests at a time on each core: their fixtures are made once a file. The order is that of tests/conftest.py.
PYTEST_OPTIONS = --numprocesses auto --dist loadfile --no-loadscope-reorder

check: lint
	$(BIN)/pytest $(PYTEST_OPTIONS) -m 'not slow and not oracle and not device'

test: lint
	$(BIN)/pytest $(PYTEST_OPTIONS)

# Needs ghostedge's own few packages and the site's, no vendor library. Not --quiet, which takes the warnings from --strict.
docs: $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint locks/export.txt --editable '.[docs]'
	$(BIN)/python -m mkdocs build --strict
	@echo "$(CURDIR)/build/site/index.html"

golden: install
	$(BIN)/pytest --record tests/mindir tests/tflite/test_recorded.py -k 'live or recorded_bytes or the_recording'

# Atheris is none of the project's packages: it has wheels for few Pythons.
FUZZ         ?= $(shell $(BIN)/python -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)')
FUZZ_SECONDS ?= 600
fuzz: install
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target build/fuzz-packages atheris==3.0.0
	$(BIN)/python -m tests.fuzz.damage --each 200 --only $(FUZZ)
	for name in $(FUZZ); do \
	  PYTHONPATH=build/fuzz-packages $(BIN)/python -m tests.fuzz.fuzz $$name -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

# As on a Raspberry Pi or a laptop of today: another Python, NumPy 2, the newest runtimes, no MindSpore, no TensorFlow.
EDGE_PYTHON ?= $(shell for version in 3.14 3.13; do python$$version -c 'import venv' 2>/dev/null && echo python$$version && exit; done; \
    version=$$(pyenv versions --bare 2>/dev/null | grep -E '^3\.1[34]' | tail -1); test -n "$$version" && echo "$$(pyenv prefix $$version)/bin/python")
test-edge:
	@test -n "$(EDGE_PYTHON)" || { echo 'make: neither Python 3.13 nor 3.14 is here; name another: make test-edge EDGE_PYTHON=python3.12' >&2; exit 1; }
	test -x $(EDGE)/bin/python || $(EDGE_PYTHON) -m venv $(EDGE)
	$(EDGE)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(EDGE)/bin/uv pip install --quiet --python $(EDGE)/bin/python --constraint locks/edge.txt --editable '.[runtimes,evaluate,devices,fetch,serve,test]'
	$(EDGE)/bin/python -m pytest $(PYTEST_OPTIONS)

# The other end: every direct dependency of the edge roles at the lower bound that pyproject.toml states.
OLDEST ?= build/oldest-venv
test-oldest:
	test -x $(OLDEST)/bin/python || python3.11 -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[runtimes,evaluate,devices,fetch,serve,test]'
	$(OLDEST)/bin/python -m pytest $(PYTEST_OPTIONS)

test-arm64: install
	$(BIN)/python benchmarks/arm64/sysroot.py
	$(BIN)/python benchmarks/arm64/sysroot.py --litert 2.3.0
	GHOSTEDGE_ARM64=1 $(BIN)/pytest tests/benchmarks/test_arm64.py tests/latency/devices/test_ssh.py
	$(BIN)/python benchmarks/arm64/install_path.py --skip-missing --block raspberry-pi ubuntu # the others repeat the first's lines
	$(if $(ARTIFACTS),$(BIN)/python benchmarks/arm64/check_outputs.py $(ARTIFACTS))
	$(if $(ARTIFACTS),$(BIN)/python benchmarks/arm64/cost.py $(ARTIFACTS))

compat: install
	$(BIN)/python benchmarks/compatibility.py --artifacts build/demo --page docs/compatibility.md

# Its artifacts are of one family each and quick to make; int8 takes minutes.
compat-newest: install
	$(BIN)/ghostedge export --checkpoint ghostedge/demo/files/artwork_1x.ckpt --labels ghostedge/demo/files/labels.txt \
	  --images ghostedge/demo/files/validation/tiger --output build/compat/artifacts \
	  --recipe onnx_fp32 --recipe openvino_fp32 --recipe tflite_fp32 --recipe tflite_fp16 --recipe tflite_dynamic
	$(BIN)/python benchmarks/compatibility.py --artifacts build/compat/artifacts --only newest

networks: install
	$(BIN)/python benchmarks/networks.py --page docs/networks.md

demo: install-demo
	$(BIN)/ghostedge demo --output build/demo

# For every Python at once, versions only. The devices' lock is then tried with pip, which refuses what uv does not.
lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --no-header --python-version 3.11 \
	    --extra runtimes --extra evaluate --extra devices --extra fetch --extra serve --extra test pyproject.toml -o locks/edge.txt
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --no-header --python-version 3.11 \
	    --extra all --extra dev pyproject.toml -o locks/export.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed --constraint locks/edge.txt \
	    '.[runtimes,evaluate,devices,fetch,serve,test]'

clean:
	rm -rf build
