#!/usr/bin/env bash
# What must hold of the text itself: formatting, lints, documentation. ci/check.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
  sed -n '2s/^# //p' "ci/$(basename "$0")"
  exit 0
fi
step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings
RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" \
  step cargo clippy --test loom --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --all-features --no-deps --quiet
echo "check: ok"
