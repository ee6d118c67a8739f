#!/usr/bin/python3
"""Report to mdbatch and listen for what changed, with psycopg 3.

    client.py report AGENT DEVICE VALUE...   enqueue, a report for each VALUE
    client.py sync AGENT DEVICE VALUE...     the same, and wait for the disk
    client.py listen                         print what changes

Connects as libpq does: PGHOST, PGPORT, PGUSER, PGDATABASE, ...  Reports may go
through a pooler, the listener may not.  doc/clients.md has the tables.
"""

import base64
import json
import random
import sys
import time
import uuid
from datetime import datetime, timezone

import psycopg
from psycopg.types.json import Jsonb

CONNECT = {
    # Without it psycopg opens a transaction: CALL is refused in one (2D000),
    # and a listener in one hears nothing.
    "autocommit": True,
    # psycopg prepares what it has run five times.  Behind a pooler in
    # transaction mode the next call may meet a server that never heard of it.
    "prepare_threshold": None,
    # A peer that went away silently is noticed, also by who only listens.
    "keepalives_idle": 60,
}
# Worth another try: too many connections, batch full, server going or coming.
TRANSIENT = {"53300", "53400", "57P01", "57P02", "57P03"}
FIRST_DELAY, LAST_DELAY, TRIES = 0.5, 30, 8


def arguments(agent, device, value, at):
    """Arguments of mdbatch_add and mdbatch_put.  UUID, list of str and list of
    datetime are adapted to uuid, text[] and timestamptz[]."""
    entry = {"id": device, "status": value, "seen_at": at.isoformat()}
    add = (agent, ["load", "note"], [value, f"is {value}"], [at, at])
    return add, (Jsonb(entry),)


def report(conn, agent, device, value, at):
    """Enqueue; works on any connection, pooled or not, in a transaction or
    not.  Fewer accepted than given: the batch was full, the rest is dropped."""
    add, put = arguments(agent, device, value, at)
    query = "SELECT mdbatch_add(%s, %s, %s, NULL, %s)"
    added = conn.execute(query, add).fetchone()[0]
    query = "SELECT mdbatch_put('device', %s)"
    accepted = conn.execute(query, put).fetchone()[0]
    print(f"added {added} of 2, put {accepted} of 1", flush=True)


def report_sync(conn, agent, device, value, at):
    """Return when it is durably written.  Not in a transaction."""
    add, put = arguments(agent, device, value, at)
    conn.execute("CALL mdbatch_add_sync(%s, %s, %s, NULL, %s)", add)
    conn.execute("CALL mdbatch_put_sync('device', %s)", put)
    print("written", flush=True)


def transient(error):
    # Where there is no SQLSTATE, the server could not be asked.
    state = error.sqlstate
    return state is None or state in TRANSIENT or state.startswith("08")


def pause(error, delay):
    delay *= random.uniform(0.5, 1)  # so that not all come back at once
    reason = str(error).splitlines()[0]
    print(f"{reason}; again in {delay:.1f} s", flush=True)
    time.sleep(delay)


def retry(work, reports):
    """Until it succeeds, or makes no sense any more.  What is sent twice, as
    its answer was lost, does no harm: it has the same time as before.  (It
    would with merge => sum.)"""
    for attempt in range(TRIES):
        try:
            with psycopg.connect(**CONNECT) as conn:
                for one in reports:
                    work(conn, *one)
                return
        except psycopg.OperationalError as error:
            if not transient(error) or attempt == TRIES - 1:
                raise
            pause(error, min(FIRST_DELAY * 2**attempt, LAST_DELAY))


def decode_agents(payload):
    """22 characters of base64 without padding for each agent."""
    if not payload or len(payload) % 22:
        raise ValueError("not a list of agents")
    chunks = [payload[i : i + 22] + "==" for i in range(0, len(payload), 22)]
    return [
        uuid.UUID(bytes=base64.b64decode(chunk, validate=True))
        for chunk in chunks
    ]


def show_agents(conn, agents=None):
    query = """SELECT 'agent', agent_id, key, value FROM mdbatch_metadata
        WHERE %(ids)s::uuid[] IS NULL OR agent_id = ANY (%(ids)s)
        ORDER BY agent_id, key"""
    for row in conn.execute(query, {"ids": agents}):
        print(*row, flush=True)


def show_devices(conn, devices=None):
    query = """SELECT 'device', id, status FROM device
        WHERE %(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s) ORDER BY id"""
    for row in conn.execute(query, {"ids": devices}):
        print(*row, flush=True)


def changed(conn, channel, payload):
    try:
        if channel == "device":
            # The values as text, whatever their type.
            show_devices(conn, [int(value) for value in json.loads(payload)])
        else:
            show_agents(conn, decode_agents(payload))
    except (ValueError, TypeError):
        print(f"ignored: {payload}", flush=True)  # anybody may NOTIFY


def listen():
    delay = FIRST_DELAY
    while True:
        try:
            # Two connections, because psycopg 3.1 drops a notification that
            # arrives while the listening one runs another statement.
            with psycopg.connect(**CONNECT) as ears, psycopg.connect(
                **CONNECT
            ) as conn:
                ears.execute("LISTEN workspace_agent_metadata_batch")
                ears.execute("LISTEN device")
                # What was sent while nobody listened is gone: read everything,
                # and only now, so that nothing falls in between.
                show_agents(conn)
                show_devices(conn)
                print("listening", flush=True)
                delay = FIRST_DELAY
                for notify in ears.notifies():
                    changed(conn, notify.channel, notify.payload)
        except psycopg.OperationalError as error:
            if not transient(error):
                raise
            pause(error, delay)
            delay = min(2 * delay, LAST_DELAY)


def main(command, *args):
    try:
        if command == "listen":
            listen()
        agent, device, *values = args
        work = {"report": report, "sync": report_sync}[command]
        reports = [
            (uuid.UUID(agent), int(device), value, datetime.now(timezone.utc))
            for value in values
        ]
        retry(work, reports)
    except psycopg.Error as error:
        # 55000: mdbatch is not preloaded, or the table is not attached.
        hint = error.diag.message_hint or ""
        sys.exit(f"{error.sqlstate}: {str(error).splitlines()[0]}  {hint}")


main(*sys.argv[1:])
