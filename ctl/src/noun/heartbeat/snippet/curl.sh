#!/bin/sh
# Runs a job and tells its heartbeat {{NAME}}: the start, the exit code, the end of the output.
# Use: sh ping.sh COMMAND [ARGUMENT…]
ping_url={{PING_URL}}
run_id=$(cat /proc/sys/kernel/random/uuid 2> /dev/null || uuidgen)
output=$(mktemp) || exit 1
trap 'rm -f "$output"' EXIT

# A heartbeat that cannot be told must not fail the job.
tell() {
    curl --fail --silent --show-error --max-time 10 --retry 5 --retry-max-time 60 --output /dev/null \
        --request POST --data-binary @- "$ping_url/$1?rid=$run_id" || true
}

tell start < /dev/null
"$@" > "$output" 2>&1
code=$?
cat "$output"
tail -c 10000 "$output" | tell "$code"
exit "$code"
