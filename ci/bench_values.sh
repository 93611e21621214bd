#!/usr/bin/env bash
# What it costs to encode and decode values, beside postcard, in one run: ci/bench_values.sh [--rounds N] [--only NAME]
set -euo pipefail
cd "$(dirname "$0")/../bench"

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "../ci/$(basename "$0")"
fi
cargo run --quiet --release --bin value_cost -- "$@"
