#!/usr/bin/env bash
# Report to mdbatch and listen for what changed, with psql.
#
#     client.sh report AGENT DEVICE VALUE...   enqueue, a report for each VALUE
#     client.sh sync AGENT DEVICE VALUE...     the same, and wait for the disk
#     client.sh listen                         print what changes
#
# Connects as psql does: PGHOST, PGPORT, PGUSER, PGDATABASE, ...  Reports may go
# through a pooler, the listener may not.  doc/clients.md has the tables.

set -euo pipefail

tries=8 last_delay=30
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

# Rows and nothing else, no ~/.psqlrc, errors with their SQLSTATE.
run() {
    psql -X -A -t -q -F ' ' -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$@"
}

# psql has no bound parameters before version 16.  :'name' is as good: psql
# quotes it as a literal.  (Not in -c, so standard input has the statements.)
# Fewer accepted than given: the batch was full, the rest is dropped.
report() {
    run "$@" <<'SQL'
SELECT format('added %s of 2, put %s of 1',
    mdbatch_add(:'agent', ARRAY['load', 'note'],
        ARRAY[:'value', 'is ' || :'value'], NULL,
        ARRAY[:'at', :'at']::timestamptz[]),
    mdbatch_put('device', jsonb_build_object(
        'id', :'device', 'status', :'value', 'seen_at', :'at')));
SQL
}

# Returns when it is durably written.  psql sends each statement in a
# transaction of its own, unless they share a -c.
sync() {
    run "$@" <<'SQL'
CALL mdbatch_add_sync(:'agent', ARRAY['load', 'note'],
    ARRAY[:'value', 'is ' || :'value'], NULL,
    ARRAY[:'at', :'at']::timestamptz[]);
CALL mdbatch_put_sync('device', jsonb_build_object(
    'id', :'device', 'status', :'value', 'seen_at', :'at'));
\echo written
SQL
}

# usage: pause SECONDS REASON
pause() {
    # Not all of them shall come back at once.
    local ms=$(($1 * 500 + RANDOM % ($1 * 500))) delay
    printf -v delay '%d.%03d' $((ms / 1000)) $((ms % 1000))
    printf '%s; again in %s s\n' "$2" "$delay"
    sleep "$delay"
}

# Until it succeeds, or makes no sense any more.  psql ends with 2 when it has
# no connection (any more), with 3 after an error of the server.  What is sent
# twice, as its answer was lost, does no harm: it has the same time as before.
# (It would with merge => sum.)
retry() {
    local attempt delay=1 status reason
    for ((attempt = 1; attempt <= tries; attempt++)); do
        "$@" 2>"$errors" && return
        status=$?
        reason=$(head -n 1 "$errors")
        # Worth another try: no connection, batch full, server going or coming.
        [[ $status == 2 || $reason =~ (ERROR|FATAL):\ +(53400|57P0[123]): ]] ||
            break
        pause "$delay" "$reason"
        ((delay = 2 * delay < last_delay ? 2 * delay : last_delay))
    done
    # 55000: mdbatch is not preloaded, or the table is not attached.
    cat "$errors" >&2
    exit 1
}

# All rows, or those of a payload.  The server decodes it.
everything() {
    run <<'SQL'
SELECT 'agent', agent_id, key, value FROM mdbatch_metadata ORDER BY 2, 3;
SELECT 'device', id, status FROM device ORDER BY id;
SQL
}
changed_agents() {
    run -v payload="$1" <<'SQL'
SELECT 'agent', agent_id, key, value FROM mdbatch_metadata
WHERE agent_id IN (SELECT mdbatch_decode_agent_ids(:'payload')) ORDER BY 2, 3;
SQL
}
changed_devices() {
    run -v payload="$1" <<'SQL'
SELECT 'device', id, status FROM device WHERE id IN
    (SELECT v::bigint FROM jsonb_array_elements_text(:'payload') v) ORDER BY id;
SQL
}

# psql prints what was sent to it after the next statement, so it gets one every
# second.  It ends when it has lost its connection, or when this script ends.
listener() {
    {
        printf 'LISTEN workspace_agent_metadata_batch;\nLISTEN device;\n'
        printf '\\echo listening\n'
        while sleep 1 && kill -0 $$; do echo 'SELECT WHERE false;'; done
    } | run 2>"$errors"
}

listen() {
    local delay=1 line payload show
    while :; do
        while IFS= read -r line; do
            payload=${line#*\" with payload \"}
            payload=${payload%\" received from server process with PID *}
            case $line in
                # What was sent while nobody listened is gone: read everything,
                # and only now, so that nothing falls in between.
                listening) show=(everything) ;;
                'Asynchronous notification "device" '*)
                    show=(changed_devices "$payload") ;;
                'Asynchronous notification '*)
                    show=(changed_agents "$payload") ;;
                *) continue ;;
            esac
            until "${show[@]}"; do
                # 2: no connection.  Else it is the payload: anybody may NOTIFY.
                [[ $? == 2 ]] || { echo "ignored: $line" && break; }
                pause 1 "cannot read"
            done
            if [[ $line == listening ]]; then
                echo listening
                delay=1
            fi
        done < <(listener)
        pause "$delay" "$(head -n 1 "$errors")"
        ((delay = 2 * delay < last_delay ? 2 * delay : last_delay))
    done
}

command=$1
if [[ $command == listen ]]; then
    listen
fi
agent=$2 device=$3
shift 3
for value; do
    retry "$command" -v agent="$agent" -v device="$device" -v value="$value" \
        -v at="$(date '+%F %T.%6N%:z')"
done
