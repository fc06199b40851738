#!/bin/bash -eu
# Runs in OSS-Fuzz's container: builds each target and its seed corpus into $OUT.
pip3 install .
for target in fuzzing/fuzz_*.py; do
    compile_python_fuzzer "$target"
done
python3 fuzzing/corpus.py tests/recordings "$OUT" --zip
