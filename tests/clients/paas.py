"""A client of the PAAS dialect: tasks, capabilities, polling, downloads.

GATEWAY_ADA is `user:password` of one who may upload, list and download `report`, GATEWAY_BOB
that of one without rights there. `report` has the
alias `Monthly-Report`. Its processor keeps the request as `request.json` and its parameters as
`b.txt`; it fails when asked to `fail` and runs forever when asked to `run`.
"""

import re

from gateway import basic, call, login, same, true, until

ROOT = "/api/v1/default"

ada, bob = basic(*login("ada")), basic(*login("bob"))


def process(body=b"", command="report", query=""):
    path = f"{ROOT}/process/{command}{query}"
    answer = call("POST", path, body, ada)
    same(answer.status, 201, "the status of a new task")
    task = answer.json()
    same(set(task), {"task", "runner"}, "the members of a new task")
    true(isinstance(task["task"], int) and 0 <= task["task"] < 2**53, "a task is a number", task)
    # 128 bits need 22 characters of base64.
    true(re.fullmatch("[A-Za-z0-9_-]{22,}", task["runner"]), "a runner fits an address", task)
    location = f"{ROOT}/status/{task['task']}?guid={task['runner']}"
    same(answer.headers["Location"], location, "where its status is")
    return task, location


def status(location, **headers):
    seen = call("GET", location, headers=headers).expect(200).json()
    same(set(seen), {"id", "status", "lane", "command", "result"}, "the members of a status")
    true(seen["status"] in (0, 102, 200, 400), "a known status", seen)
    same(seen["result"] is None, seen["status"] in (0, 102), "a result, once it has ended")
    return seen


def ended(location):
    """Polls without credentials: the capability is enough."""

    def look():
        seen = status(location)
        return seen, seen["result"]

    return until(f"{location} has ended", look)


def file(task, at, headers=None, query=None, method="GET"):
    query = f"?guid={task['runner']}" if query is None else query
    return call(method, f"{ROOT}/download/{task['task']}/{at}{query}", headers=headers)


def a_task():
    body = b' {"copies": 2, "paper": "A4 \xc3\xbc",\n "x": 1.50} '
    task, location = process(body, "Monthly-Report", "?copies=3&paper=A4%20quer")
    seen = ended(location)
    same((seen["id"], seen["status"]), (task["task"], 200), "a task that has ended well")
    same(seen["command"], "Monthly-Report", "its command, as it was sent")
    same(seen["result"]["guid"], task["runner"], "its guid")
    same(seen["result"]["files"], ["b.txt", "request.json"], "its files")
    request = file(task, 1)
    same(request.body, body, "the request as it was sent")
    same(request.headers["Content-Type"], "application/json", "its type")
    true("attachment" in request.headers["Content-Disposition"], "a file is to be saved", request)
    same(file(task, 0).body, b'{"copies":"3","paper":"A4 quer"}', "the parameters beside it")
    part = file(task, 1, {"Range": "bytes=-3"})
    same((part.status, part.body), (206, body[-3:]), "the end of it")
    same(file(task, 1, {"Range": "bytes=9999-"}).status, 416, "a part that is not there")
    head = file(task, 1, method="HEAD")
    same(
        (head.status, head.body, head.headers["Content-Length"]), (200, b"", str(len(body))), "HEAD"
    )
    # With a right instead of the capability.
    same(status(f"{ROOT}/status/{task['task']}", **ada), seen, "the status by a right")
    same(file(task, 1, ada, "").body, body, "the file by a right")
    for at in ["2", "99", "-1", "00", "request.json", "..%2f..%2f.key"]:
        same(file(task, at).status, 404, f"no file {at}")


def minimal():
    task, location = process()
    same(ended(location)["lane"], "Default", "the lane of a task")
    same(file(task, 1).body, b"{}", "a task without a body")
    for body in [b"[]", b"null", b'"text"', b"0"]:
        task, location = process(body)
        ended(location)
        same(file(task, 1).body, body, "any JSON is a request")


def a_failure():
    task, location = process(b'{"fail":1}')
    seen = ended(location)
    same(seen["status"], 400, "a failure")
    true(seen["result"]["error"], "it says why", seen)
    same(seen["result"]["files"], [], "its files")
    answer = file(task, 0)
    same(answer.status, 409, "a file of a failure")
    true(answer.json()["error"], "it says why", answer)


def still_running():
    task, location = process(b'{"run":1}')
    until("a task runs", lambda: (task, status(location)["status"] == 102))
    same(file(task, 0).status, 409, "a file of a task that runs")


def capabilities():
    (one, at_one), (two, _) = process(), process()
    ended(at_one)

    def alike(path, headers=None):
        answer = call("GET", path, headers=headers)
        same(answer.status, 404, f"GET {path}")
        return re.sub(r"\d+", "N", answer.json()["error"])

    number, runner = one["task"], one["runner"]
    forged = runner[:-1] + ("A" if runner[-1] != "A" else "B")
    texts = {
        alike(f"{ROOT}/{path}")
        for path in [
            f"status/{number}?guid={forged}",
            f"status/{number}?guid={two['runner']}",
            f"status/{number}?guid=",
            f"status/{number + 1}?guid={runner}",
            f"status/1?guid={runner}",
            f"download/{number}/0?guid={forged}",
            f"status/{number}?guid={runner}%20",
        ]
    }
    texts.add(alike(f"{ROOT}/status/{number}", bob))
    same(len(texts), 1, "the number of answers to a wrong guid, an unknown task, and a stranger")
    # A capability needs no rights, but wrong credentials are wrong.
    same(status(at_one, **bob)["status"], 200, "the status by the capability of someone else")
    same(call("GET", at_one, headers=basic("ada", "wrong")).status, 401, "wrong credentials")
    answer = call("GET", f"{ROOT}/status/{number}")
    same(answer.status, 401, "neither right nor capability")
    true(answer.headers["WWW-Authenticate"].startswith("Basic"), "what is wanted", answer)


def what_is_wrong():
    for method, path, body, headers, expected in [
        ("POST", f"{ROOT}/process/report", b"{}", {}, 401),
        ("POST", f"{ROOT}/process/report?guid=x", b"{}", {}, 401),
        ("POST", f"{ROOT}/process/report", b"{}", basic("ada", "wrong"), 401),
        ("POST", f"{ROOT}/process/report", b"{}", bob, 404),
        ("POST", f"{ROOT}/process/Baking", b"{}", ada, 404),
        ("POST", "/api/v1/nowhere/process/report", b"{}", ada, 404),
        ("GET", "/api/v1/nowhere/status/1?guid=x", None, {}, 404),
        ("POST", f"{ROOT}/process/report", b"copies=2", ada, 400),
        ("POST", f"{ROOT}/process/report", b"{} {}", ada, 400),
        ("POST", f"{ROOT}/process/report", b"\xff", ada, 400),
        ("GET", f"{ROOT}/process/report", None, ada, 405),
        ("GET", f"{ROOT}/status/007", None, ada, 404),
        ("GET", f"{ROOT}/status/99999999999999999999", None, ada, 404),
        ("GET", f"{ROOT}/status", None, ada, 404),
        ("POST", f"{ROOT}/", b"", ada, 404),
    ]:
        answer = call(method, path, body, headers)
        same(answer.status, expected, f"{method} {path} {body!r}")
        same(set(answer.json()), {"error"}, "the members of an error")
    key = {**ada, "Idempotency-Key": "k1"}
    first, again = (call("POST", f"{ROOT}/process/report", b"{}", key) for _ in range(2))
    same(first.json(), again.json(), "the answer to a repeated request")
    same(again.headers["Idempotency-Replayed"], "true", "and it says so")


a_task()
minimal()
a_failure()
still_running()
capabilities()
what_is_wrong()
