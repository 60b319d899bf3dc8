# `make demo` and `make test` do all their set-up themselves; `make install` is that set-up alone.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help install lint test test-arm64 compat compat-newest demo lock clean

help:
	@echo "make install   everything into $(VENV)"
	@echo "make demo      the whole way on a trained checkpoint and images that come with the project"
	@echo "make test      ruff, mypy and every test"
	@echo "make lint      ruff and mypy alone"
	@echo "make test-arm64 [ARTIFACTS='A.tflite ...']"
	@echo "               the benchmark on the real ARM64 LiteRT under emulation (needs Debian's qemu-user, gcc,"
	@echo "               debian-archive-keyring); artifacts: outputs against x86, and instructions an inference"
	@echo "make compat    build/demo's artifacts in old, pinned and newest runtimes: writes docs/compatibility.md"
	@echo "make compat-newest"
	@echo "               five artifacts in the newest runtimes that make compat has found (make test's companion in CI)"
	@echo "make lock      write constraints.txt anew from pyproject.toml"
	@echo "make clean     remove build/"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[all,dev]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

test-arm64: install
	$(BIN)/python benchmarks/arm64/sysroot.py
	GHOSTEDGE_ARM64=1 $(BIN)/pytest tests/benchmarks/test_arm64.py tests/devices/test_ssh.py
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

demo: install
	$(BIN)/ghostedge demo --output build/demo

lock: install
	$(BIN)/uv pip compile --quiet --all-extras --python-version 3.11 --no-annotate --no-header --upgrade pyproject.toml -o constraints.txt

clean:
	rm -rf build
