#!/usr/bin/env bash
# Changes the engine in every small way there is, one at a time (a comparison turned round, a condition dropped, a
# function that returns nothing), and fails when its tests let 5 % or more of these mutants live. Works on a copy of the
# present commit, takes hours, and goes on where it was stopped: shards that are done are kept under target/mutants.
#
#   tests/mutants.sh                          everything, in shards of about 100
#   tests/mutants.sh --jobs 2                 two shards side by side
#   tests/mutants.sh --shard 3/15             one of 15 shards, counted from 0
#   tests/mutants.sh --file '**/quorum*.rs'   the mutants of some files only
#   tests/mutants.sh --report FILE            the tables into this file too
set -euo pipefail
cd "$(dirname "$0")/.."

version=27.1.0
jobs=1 shard='' report='' file=()
while [ $# -gt 0 ]; do
    case $1 in
        --jobs) jobs=$2 ;;
        --shard) shard=$2 ;;
        --file) file=(--file "$2") ;;
        --report) report=$PWD/$2 ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done

sources=(coordinator/engine proto/model Cargo.toml Cargo.lock .cargo)
if [ -n "$(git status --porcelain -- "${sources[@]}")" ]; then
    echo "commit first what is changed in ${sources[*]}: a result belongs to a revision"
    exit 2
fi
revision=$(git rev-parse --short=12 HEAD)
tools=$PWD/target/tools
export PATH=$tools/bin:$PATH
if [ "$(cargo mutants --version 2> /dev/null)" != "cargo-mutants $version" ]; then
    cargo install --quiet --locked --root "$tools" "cargo-mutants@$version"
fi

# Enough cases to meet a mutant, the same ones every time, and nothing written down about failures that are meant to be.
export PROPTEST_CASES=32 PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
export INSTA_UPDATE=no RUST_BACKTRACE=0

work=$PWD/target/mutants
mutants() { cargo mutants --package engine "${file[@]}" "$@"; }
if [ -n "$shard" ]; then
    first=${shard%/*} shards=${shard#*/} last=$first
else
    first=0 shards=$((($(mutants --list | wc -l) + 99) / 100)) last=$((shards - 1))
fi
outcomes=$work/$revision/$(printf '%s' "${file[1]:-all}" | tr -c 'A-Za-z0-9\n' _)-in-$shards

quick=(--lib --test=timelines --test=maintenance_timelines)

# Exit codes: 2 is mutants that live, 3 is mutants that never end. What else goes wrong is no result.
attempt() {
    local code=0
    mutants --in-place --timeout 60 "$@" || code=$?
    case $code in 0 | 2 | 3) ;; *) return 1 ;; esac
}

# Every worker has a copy of the sources to change, and a target directory that it keeps.
work_off() {
    local worker=$1 number
    mkdir -p "$work/worker-$worker"
    cd "$work/worker-$worker"
    find . -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    # With the present time, so that cargo sees what another revision has changed.
    git -C "$OLDPWD" archive HEAD | tar --extract --touch
    for ((number = first + worker; number <= last; number += jobs)); do
        local kept=$outcomes/$number
        [ -e "$kept/done" ] && continue
        rm -rf "$kept"
        mkdir -p "$kept"
        # Most fall to the quick tests; only those that do not meet all of them.
        attempt --shard "$number/$shards" --output "$kept" "${quick[@]/#/--cargo-arg=}"
        local missed=() name
        while read -r name; do
            missed+=(--re "^$(printf '%s' "$name" | sed 's/[][\.*^$(){}?+|]/\\&/g')\$")
        done < "$kept/mutants.out/missed.txt"
        if [ ${#missed[@]} -gt 0 ]; then
            mkdir -p "$kept/again"
            attempt "${missed[@]}" --output "$kept/again" --cargo-arg=--lib --cargo-arg=--tests
        fi
        touch "$kept/done"
    done
}

pids=()
for ((worker = 0; worker < jobs; worker++)); do
    (work_off "$worker") &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done

python3 tests/mutants.py "$revision" "$outcomes" "$report"
