#!/usr/bin/env python3
"""Imports the orders and positions of a job of orders_in into an SQLite file.

usage: import-orders.py DATABASE < document.xml

What it uses of the command contract:
  standard input      the document, already validated by the gateway against orders_in.xsd
  SPOOLGATE_JOB       name of the job, the key that makes a second run harmless
  SPOOLGATE_RESULTS   directory for files to hand back; result.json is written there (optional)
  standard output     one message of the job log per line: text, or a JSON object with "text"
                      that may carry "level", "line" and "tool"
  exit status         0 done; 75 the database cannot be used now, try again later;
                      1 the document is bad; 2 wrong use; everything but 0 and 75 fails the job

The gateway runs a job at least once: after a crash it may come a second time. Orders and the job's
name are therefore written in one transaction, and a job whose name is there already changes nothing.
The document is read as a stream, one order in memory at a time.
"""

import json
import os
import sqlite3
import sys
from pathlib import Path
from xml.parsers import expat

EX_DATAERR, EX_USAGE, EX_TEMPFAIL = 1, 2, 75
LOCK_WAIT_S = 5

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS jobs (
        job TEXT PRIMARY KEY, orders INTEGER NOT NULL, positions INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS orders (
        order_id TEXT PRIMARY KEY, order_no TEXT, customer_no TEXT,
        job TEXT NOT NULL REFERENCES jobs (job) DEFERRABLE INITIALLY DEFERRED)""",
    """CREATE TABLE IF NOT EXISTS positions (
        order_id TEXT NOT NULL REFERENCES orders (order_id), no TEXT NOT NULL, state TEXT,
        PRIMARY KEY (order_id, no))""",
)


class BadDocument(Exception):
    def __init__(self, text, line):
        super().__init__(text)
        self.line = line


def say(text, level=None, line=None):
    """One message of the job log; plain text unless there is more to say than the text."""
    if level is None:
        print(text)
        return
    message = {"text": text, "level": level, "line": line, "tool": "import-orders"}
    print(json.dumps({key: value for key, value in message.items() if value is not None}))


class OrderReader:
    """Calls `store(order)` for each order of the document, with the line where it stands."""

    def __init__(self, store):
        self.store = store
        self.order = None
        self.path = []
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end

    def read(self, stream):
        try:
            self.parser.ParseFile(stream)
        except expat.ExpatError as error:
            raise BadDocument(expat.ErrorString(error.code), error.lineno) from error

    def line(self):
        return self.parser.CurrentLineNumber

    def doctype(self, *_):
        # Declarations are where entities come from; the gateway refuses them as well.
        raise BadDocument("a document type declaration is not allowed", self.line())

    def start(self, name, attributes):
        self.path.append(name)
        # White space in an attribute counts as xs:token counts it. It also keeps a line break in a
        # value from turning one message of the log into two.
        values = {key: " ".join(value.split()) for key, value in attributes.items()}
        if len(self.path) == 1 and name != "ListOfOrders":
            raise BadDocument(f"the root element is {name}, not ListOfOrders", self.line())
        elif self.path == ["ListOfOrders", "Order"]:
            self.order = {
                "id": self.required(values, "OrderID", "an order"),
                "no": values.get("OrderNo"),
                "customer": values.get("InvoiceCustomerNo"),
                "default_state": values.get("DefaultPositionOrderState"),
                "line": self.line(),
                "positions": {},
                "informed": [],
            }
        elif self.path == ["ListOfOrders", "Order", "OrderContent", "Position"]:
            self.position(values)
        elif self.path == ["ListOfOrders", "Order", "OrderContentInformation", "Information"]:
            self.order["informed"].append((values.get("PositionNo"), self.line()))

    def position(self, values):
        order = self.order
        no = self.required(values, "No", "a position")
        if no in order["positions"]:
            raise BadDocument(f"order {order['id']}: position {no} comes twice", self.line())
        state = values.get("OrderState") or order["default_state"]
        if state is None:
            say(f"order {order['id']}: position {no} has no state", "warning", self.line())
        order["positions"][no] = state

    def end(self, _name):
        if self.path == ["ListOfOrders", "Order"]:
            for no, line in self.order["informed"]:
                if no not in self.order["positions"]:
                    text = f"order {self.order['id']}: information for position {no}, which is not listed"
                    say(text, "warning", line)
            self.store(self.order)
            self.order = None
        self.path.pop()

    def required(self, values, name, what):
        if not values.get(name):
            raise BadDocument(f"{what} has no {name}", self.line())
        return values[name]


class Import:
    """Writes orders of one job inside the transaction that the caller opened and will commit."""

    def __init__(self, database, job):
        self.database = database
        self.job = job
        self.seen = {}
        self.positions = 0

    def store(self, order):
        if order["id"] in self.seen:
            text = f"order {order['id']} comes again, first on line {self.seen[order['id']]}; the later one holds"
            say(text, "warning", order["line"])
        self.seen.setdefault(order["id"], order["line"])
        self.database.execute(
            """INSERT INTO orders (order_id, order_no, customer_no, job) VALUES (?, ?, ?, ?)
               ON CONFLICT (order_id) DO UPDATE SET job = excluded.job,
                 order_no = coalesce(excluded.order_no, order_no),
                 customer_no = coalesce(excluded.customer_no, customer_no)""",
            (order["id"], order["no"], order["customer"], self.job),
        )
        self.database.executemany(
            """INSERT INTO positions (order_id, no, state) VALUES (?, ?, ?)
               ON CONFLICT (order_id, no) DO UPDATE SET state = coalesce(excluded.state, state)""",
            [(order["id"], no, state) for no, state in order["positions"].items()],
        )
        self.positions += len(order["positions"])
        say(f"order {order['id']}, positions: {len(order['positions'])}")


def import_job(database, job, stream):
    """Returns (orders, positions) of the job, imported now or before."""
    # IMMEDIATE takes the write lock immediately, so waiting happens here and not half way through.
    database.execute("BEGIN IMMEDIATE")
    with database:
        for statement in SCHEMA:
            database.execute(statement)
        done = database.execute("SELECT orders, positions FROM jobs WHERE job = ?", (job,)).fetchone()
        if done:
            say("imported before, nothing to do", "info")
            return done
        orders = Import(database, job)
        OrderReader(orders.store).read(stream)
        counts = (len(orders.seen), orders.positions)
        database.execute("INSERT INTO jobs (job, orders, positions) VALUES (?, ?, ?)", (job, *counts))
    return counts


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    job = os.environ.get("SPOOLGATE_JOB")
    if len(sys.argv) != 2 or not job:
        print("usage: SPOOLGATE_JOB=<name> import-orders.py DATABASE < document.xml", file=sys.stderr)
        return EX_USAGE
    database = None
    try:
        database = sqlite3.connect(sys.argv[1], timeout=LOCK_WAIT_S, isolation_level=None)
        database.execute("PRAGMA foreign_keys = ON")
        orders, positions = import_job(database, job, sys.stdin.buffer)
    except BadDocument as error:
        say(f"nothing imported: {error}", "error", error.line)
        return EX_DATAERR
    except sqlite3.OperationalError as error:
        # Locked, full or not to be opened: trouble of the database, never a fault of the document.
        say(f"nothing imported, the database cannot be used now: {error}", "warning")
        return EX_TEMPFAIL
    finally:
        if database is not None:
            database.close()
    say(f"orders: {orders}, positions: {positions}")
    results = os.environ.get("SPOOLGATE_RESULTS")
    if results:
        variables = {"orders": str(orders), "positions": str(positions)}
        Path(results, "result.json").write_text(json.dumps({"variables": variables, "links": []}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
