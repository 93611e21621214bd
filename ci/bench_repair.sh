#!/usr/bin/env bash
# What repair costs: SimpleQueue and Pipe beside the same rings with nothing for the dead, as pairs in one run: ci/bench_repair.sh [--json] [--rounds N] …
set -euo pipefail
cd "$(dirname "$0")/../bench"

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "../ci/$(basename "$0")"
fi
cargo run --quiet --release --bin repair_cost -- "$@"
