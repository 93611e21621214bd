#!/usr/bin/env bash
# Measures skep beside what its users would otherwise pick, and beside the physical limit: ci/bench.sh [--quick] [--json FILE] [ROW...]
#
# Installs what the peers need (boost's headers; a Python environment with numpy and joblib) where it can, and says otherwise who is left out.
# `ci/bench.sh --help` tells the rest, `--list` the rows.
set -euo pipefail
cd "$(dirname "$0")/../bench"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
features=peers
arguments=()

say() { echo "bench: $*" >&2; }

# installs PACKAGE: without asking, without words.
installs() {
  command -v apt-get >/dev/null && DEBIAN_FRONTEND=noninteractive nice apt-get install -qq --no-install-recommends "$1" >&2
}

if command -v c++ >/dev/null && { [ -d /usr/include/boost/interprocess ] || installs libboost-dev; }; then
  features=boost
else
  say "no C++ compiler with boost's headers, and they cannot be installed: boost is left out"
fi

python=$target/python/bin/python
if "$python" -c 'import numpy, joblib' 2>/dev/null ||
  { python3 -m venv "$target/python" >&2 && "$target/python/bin/pip" install -q numpy joblib >&2; }; then
  arguments+=(--python "$python")
else
  say "no Python with numpy and joblib, and they cannot be installed: mp.Pool and joblib are left out"
fi

nice cargo build --quiet --release --features "$features" --bin side_by_side
exec "$target/release/side_by_side" "${arguments[@]}" "$@"
