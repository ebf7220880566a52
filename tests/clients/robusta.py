"""A client that starts processes by the Robusta dialect, as robots' schedulers do.

The server has the processes `invoices` (greets `values.who`), `wait` (until `signal` has run),
`signal`, and `flaky` (fails for now until its third attempt); it answers to the worker `robot-1`
alone. GATEWAY_LIMITED is `user:password` of someone who may only start `signal`.
"""

import os
import uuid

from gateway import basic, call, same, true, until

START = "/scheduler/connector-API/process/start"
STATUS = "/scheduler/connector-api/process/status/"
ME = basic()


def start(**members):
    answer = call("POST", START, members, ME).expect(200).json()
    same(answer["message"], "Process saved", "the message of a start")
    same(str(uuid.UUID(answer["robustaSpid"])), answer["robustaSpid"], "robustaSpid")
    return answer["robustaSpid"]


def status(spid):
    answer = call("GET", STATUS + spid, headers=ME).expect(200).json()
    true(answer.get("message"), f"{answer} has no message")
    known = ("WAITING", "RUNNING", "SUCCEEDED", "FAILED")
    true(answer["status"] in known, f"{answer} is none of {known}")
    return answer


def reached(spid, wanted):
    def ask():
        answer = status(spid)
        return answer, answer["status"] == wanted

    return until(f"{spid} is {wanted}", ask)


def refused(body, *words):
    answer = call("POST", START, body, ME).expect(400).json()
    for word in words:
        true(word in answer["message"], f"{answer} does not name {word}")


def what_a_working_client_sends():
    spid = start(
        runOnce="Y",
        runImmediately="Y",
        name="invoices",
        worker="robot-1",
        values={"who": "Ada", "mail": "ada@example.org"},
    )
    ended = reached(spid, "SUCCEEDED")
    same(ended["message"], "Your transaction has ended.", "the message of success")
    same(ended["__out_greeting"], "Hello Ada", "an output variable")
    same(ended["__out_sent"], {"who": "Ada", "mail": "ada@example.org"}, "what was sent")
    # By the other spelling of path and UUID.
    other = STATUS.replace("connector-api", "CONNECTOR-Api") + spid.upper()
    same(call("GET", other, headers=ME).expect(200).json(), ended, "the status by another spelling")


def other_ways_to_say_it():
    for members in (
        {"name": "invoices"},
        {"name": "invoices", "runOnce": "y", "runImmediately": "y", "values": {}},
        {"name": "invoices", "runOnce": True, "runImmediately": True, "retryCount": 0},
        {"name": "invoices", "retryCount": "2", "values": {"n": 1.5, "on": True}},
        {"name": "invoices", "quartzDef": "", "startDate": None, "worker": ""},
        {"name": "Rechnungen", "comment": ["of", {"no": "concern"}]},
    ):
        reached(start(**members), "SUCCEEDED")
    # Clients that say nothing of the type, or the wrong one.
    body = b' {"name": "invoices"}\n'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        call("POST", START, body, {**ME, "Content-Type": kind}).expect(200)


def states_on_the_way():
    other = start(name="invoices", worker="robot-9")
    waits = start(name="wait")
    reached(waits, "RUNNING")
    start(name="signal")
    reached(waits, "SUCCEEDED")
    same(status(other)["status"], "WAITING", "the status of a process of another worker")


def repetitions():
    same(reached(start(name="flaky", retryCount="2"), "SUCCEEDED")["__out_attempt"], "3", "attempt")
    for too_few in ("1", 0):
        failed = reached(start(name="flaky", retryCount=too_few), "FAILED")
        true(failed["message"] != "Your transaction has ended.", f"{failed} does not say why")
        true(not any(name.startswith("__out_") for name in failed), f"{failed} has outputs")


def a_request_repeated():
    headers = {**ME, "Idempotency-Key": f"key-{uuid.uuid4()}"}
    first, second = (call("POST", START, {"name": "invoices"}, headers) for _ in range(2))
    same(first.expect(200).json(), second.expect(200).json(), "the answer to a repeated start")
    same(second.headers["Idempotency-Replayed"], "true", "Idempotency-Replayed")


def schedules():
    """Times are far off, or every second: neither depends on when this runs."""
    weekly = start(name="invoices", quartzDef="0 6 6 ? * FR", startDate="2099-01-01 00:00:00")
    waits = status(weekly)
    same((waits["status"], waits["nextRun"]), ("WAITING", "2099-01-02T06:06:00.000Z"), "a schedule")
    noon = {"quartzDef": "0 0 12 * * ?", "timeZone": "Asia/Tokyo"}
    at = status(start(name="invoices", **noon))["nextRun"]
    true(at.endswith("T03:00:00.000Z"), f"{at} is not noon in Tokyo")
    once = start(name="invoices", startDate="2099-01-01 08:00:00", timeZone="Europe/Berlin")
    same(status(once)["nextRun"], "2099-01-01T07:00:00.000Z", "the only moment")
    now_too = start(name="invoices", quartzDef="0 6 6 ? * FR", runImmediately="Y")
    ended = reached(now_too, "SUCCEEDED")
    true(ended["nextRun"] and "__out_greeting" in ended, f"{ended} is not the latest run")
    every_second = start(name="invoices", quartzDef="* * * * * ?", values={"who": "Eve"})
    ended = reached(every_second, "SUCCEEDED")
    same(ended["__out_greeting"], "Hello Eve", "an output variable of a schedule")
    true("nextRun" in ended, f"{ended} has no next run")
    ended = reached(start(name="invoices", quartzDef="* * * * * ?", runOnce="Y"), "SUCCEEDED")
    true("nextRun" not in ended, f"{ended} is to run again")


def bad_schedules():
    refused({"name": "invoices", "quartzDef": "0 6 6 ? * FX"}, "quartzDef", "character 11")
    refused({"name": "invoices", "quartzDef": "0 6 6"}, "quartzDef")
    refused({"name": "invoices", "startDate": "2099-13-01 00:00:00"}, "startDate")
    refused({"name": "invoices", "startDate": "2099-01-01"}, "startDate")
    refused({"name": "invoices", "endDate": "yesterday"}, "endDate")
    refused({"name": "invoices", "endDate": "2020-01-01 00:00:00"}, "endDate")
    dates = {"startDate": "2099-01-02 00:00:00", "endDate": "2099-01-01 00:00:00"}
    refused({"name": "invoices", **dates}, "endDate")
    noon = {"quartzDef": "0 0 12 * * ?", "timeZone": "Middle/Earth"}
    refused({"name": "invoices", **noon}, "timeZone")
    refused({"name": "nobody", "quartzDef": "0 0 12 * * ?"}, "name", "nobody")


def mistakes():
    refused({}, "name")
    refused({"name": "nobody"}, "name", "nobody")
    refused({"name": "no process / at all"}, "name")
    refused({"name": "invoices", "runOnce": "perhaps"}, "runOnce")
    refused({"name": "invoices", "retryCount": -1}, "retryCount")
    refused({"name": "invoices", "values": "a=b"}, "values")
    refused({"name": "invoices", "values": {"a": {"b": "c"}}}, "values.a")
    refused(b'{"name": "invoices", "worker": "a", "worker": "b"}', "worker")
    refused({"name": "invoices", "runOnce": "N", "runImmediately": "N"}, "quartzDef")
    refused(b'{"name": "invoices", "x": ' + b"[" * 200 + b"]" * 200 + b"}", "128 levels")
    refused(b"name=invoices", "JSON")
    refused(b"", "name")


def who_may_not():
    body = {"name": "invoices"}
    call("POST", START, body).expect(401).json()["message"]
    call("POST", START, body, basic("ada", "wrong")).expect(401).json()["message"]
    limited = basic(*os.environ["GATEWAY_LIMITED"].split(":"))
    call("POST", START, body, limited).expect(400).json()["message"]
    call("POST", START, {"name": "signal"}, limited).expect(200)
    # Not yours, unknown, forged and malformed look alike.
    for spid in (start(name="invoices"), str(uuid.uuid4()), "7", "%2e%2e"):
        call("GET", STATUS + spid, headers=limited).expect(404).json()["message"]


what_a_working_client_sends()
other_ways_to_say_it()
states_on_the_way()
repetitions()
a_request_repeated()
schedules()
bad_schedules()
mistakes()
who_may_not()
