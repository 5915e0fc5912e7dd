PYTHON ?= python3
BIN := .venv/bin
# Two files at a time, in the order of tests/conftest.py; a new worker would run into the crash of the one before.
TWO := -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
FAST := $(addprefix tests/, ops evaluation dminer studies tuning data test_architecture.py test_files.py)
# Containers often set it; hundreds of processes would then compile siod, each for itself.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-fast check gpu-check benchmarks mutants clean

demo: .venv/ready  ## install, run the demo study, build its report
	$(BIN)/siod study run demo
	$(BIN)/siod report build demo
	@echo "Compare the runs in MLflow: $(BIN)/siod ui"

test: .venv/ready  ## the whole test suite, two files at a time
	$(BIN)/python -m pytest $(TWO) --durations 60 --durations-min 5

test-fast: .venv/ready  ## between two edits, under 90 seconds: see CONTRIBUTING for what it leaves out
	$(BIN)/python -m pytest $(TWO) -m "not slow and not ray" $(FAST)

check: .venv/ready  ## style and types; types on an installed tree, which is what users get
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/check && $(BIN)/python -m pip install --quiet --no-deps --target build/check .
	$(BIN)/mypy --config-file pyproject.toml build/check/siod

gpu-check: .venv/ready  ## on a machine with a GPU: is training right and fast there; eight minutes at most
	$(BIN)/python tests/gpu/check.py

benchmarks: .venv/ready  ## every benchmark, side by side with its peers
	$(BIN)/python -m pip install --quiet hotcoco==1.3.0 faster-coco-eval==1.8.0
	for bench in tests/benchmarks/bench_*.py; do $(BIN)/python $$bench || exit 1; done

mutants: .venv/ready  ## would the tests notice a fault in the arithmetic? CONTRIBUTING says what was seen
	$(BIN)/python -m pip install --quiet mutmut==3.8.1
	rm -rf mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build mutants *.egg-info
