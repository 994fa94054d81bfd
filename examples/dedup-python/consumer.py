"""
Takes change events from a queue and lets each have its effect exactly once, though the queue may hold some of them twice.
The effect here: how often each document was changed, counted in SQLite.

    pip install pika
    QUEUE=orders AMQP_URI=amqp://localhost DATABASE=effects.db python3 consumer.py

What has been seen is written in the same transaction as the effect, and the queue is told after it: whenever this process
is killed, either both are there, or neither is and the messages come again. It keeps the newest WINDOW ids of each lane;
docs/exactly-once.md tells how many those must be. Anything unexpected ends the process: start it again.
"""

import json
import os
import sqlite3

import pika

QUEUE = os.environ["QUEUE"]
WINDOW = int(os.environ.get("WINDOW", "20000"))
PREFETCH = 200

# Without an isolation level the module begins no transactions of its own: ours are exactly where BEGIN and COMMIT stand.
db = sqlite3.connect(os.environ["DATABASE"], isolation_level=None, timeout=30)
db.execute("CREATE TABLE IF NOT EXISTS seen (lane TEXT, id TEXT, n INTEGER, PRIMARY KEY (lane, id)) WITHOUT ROWID")
db.execute("CREATE INDEX IF NOT EXISTS seen_in_order ON seen (lane, n)")
db.execute("CREATE TABLE IF NOT EXISTS changes (document TEXT PRIMARY KEY, n INTEGER)")


def main():
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URI"]))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    pending = 0
    last = None
    # Many messages in one transaction; at most half of the prefetch, so that the broker goes on sending meanwhile.
    for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.05):
        if method is not None:
            if pending == 0:
                db.execute("BEGIN IMMEDIATE")
            take(properties, body)
            last = method.delivery_tag
            pending += 1
        if pending > 0 and (method is None or pending >= PREFETCH // 2):
            db.execute("COMMIT")
            channel.basic_ack(last, multiple=True)
            pending = 0
    raise SystemExit("the queue is gone")


def take(properties, body):
    """A message holds one event, or with `batch.maxEvents` JSON lines. Each has a lane: what repeats keep their order in."""
    several = properties.content_type == "application/x-ndjson"
    for line in body.splitlines() if several else [body]:
        event = json.loads(line)
        lane = (properties.headers or {}).get("lane")
        if lane is None:
            lane = f"{event['ns']['db']}.{event['ns']['coll']}"
        if is_new(lane, event["_id"]):
            work(event)


def is_new(lane, id):
    """Remembers it, and forgets the oldest of its lane. Events get numbers in their lane for that."""
    n = db.execute("SELECT coalesce(max(n), 0) + 1 FROM seen WHERE lane = ?", (lane,)).fetchone()[0]
    added = db.execute("INSERT OR IGNORE INTO seen (lane, id, n) VALUES (?, ?, ?)", (lane, id, n)).rowcount
    if added == 1:
        db.execute("DELETE FROM seen WHERE lane = ? AND n <= ?", (lane, n - WINDOW))
    return added == 1


def work(event):
    """The effect: yours stands here."""
    document = f"{event['ns']['db']}.{event['ns']['coll']} {json.dumps(event['documentKey']['_id'])}"
    db.execute(
        "INSERT INTO changes (document, n) VALUES (?, 1) ON CONFLICT (document) DO UPDATE SET n = n + 1", (document,)
    )


main()
