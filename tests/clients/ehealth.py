"""A client of the eHealth dialect, as medical information systems are: a composition is sent,
waited for until `eta`, and asked for until it is done.

The server's processors take what is in `data`: `refuse` fails with the words `no such patient`,
`wait` waits until `signal` has come, and everything is linked to `composition/<job>`; a signature
is linked to the composition it is of. GATEWAY_API_KEY is the user's key, GATEWAY_LIMITED
`user:password:key` of someone who may see compositions and not send them.
"""

import base64
import datetime
import http.client
import os
import urllib.parse
import uuid

from gateway import TLS, URL, basic, call, same, true, until

KEY = os.environ["GATEWAY_API_KEY"]
CREATE = "/api/patients/composition"
JOB = "/api/patients/composition/job/"
OLD_JOB = "/api/jobs/"
SCOPES = (
    "composition:create",
    "composition:read",
    "composition:sign",
    "composition:cancel",
    "job:read",
)


def token(*scopes, headers=None, path="/oauth/tokens", **form):
    form = {"grant_type": "client_credentials", **form}
    if scopes:
        form["scope"] = " ".join(scopes)
    body = urllib.parse.urlencode(form).encode()
    answer = call("POST", path, body, headers if headers is not None else basic())
    given = answer.expect(200).json()
    same(given["token_type"], "Bearer", "token_type")
    true(given["expires_in"] > 0, f"{given} has expired")
    return given["access_token"]


def shown(access_token, key=KEY):
    return {"Authorization": f"Bearer {access_token}", "api-key": key}


ME = shown(token(*SCOPES))


def composition(content):
    return {"type": {"coding": [{"code": content}]}, "subject": {"identifier": {"value": "x"}}}


def signed(content):
    return {"data": base64.b64encode(content.encode()).decode()}


def moment(text):
    """A moment of RFC 3339."""
    true(text.endswith("Z"), f"{text} is not in UTC")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def now():
    """Cut to milliseconds, as the server's moments are."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def sent(method, path, content):
    """The task of what was just sent."""
    before = now()
    body = composition(content) if method == "POST" else signed(content)
    task = call(method, path, body, ME).expect(202).json()["data"]
    same(str(uuid.UUID(task["id"])), task["id"], "the task's id")
    same((task["status"], task["links"]), ("PENDING", []), "a new task")
    true(moment(task["eta"]) >= before, f"{task} is expected before it was sent")
    return task


def task_of(answer):
    data = answer.expect(200).json()["data"]
    for member in ("id", "status", "eta", "links"):
        true(member in data, f"{data} has no {member}")
    for link in data["links"]:
        true(link.get("entity"), f"{data} has a link without an entity")
    return data


def ended(task):
    """Waits as the contract says: until `eta`, and if it is pending still, until the new one."""
    # A server that sends the same moment again would be asked without a rest.
    wait = lambda task: min(max((moment(task["eta"]) - now()).total_seconds(), 0.02), 2)

    def ask():
        before = now()
        found = task_of(call("GET", JOB + task["id"], headers=ME))
        if found["status"] == "PENDING":
            true(moment(found["eta"]) >= before, f"{found} is expected in the past")
            true("doneAt" not in found, f"{found} is done while it is pending")
        return found, found["status"] != "PENDING"

    return until(f"{task} has ended", ask, wait)


def create_wait_done():
    before = now()
    task = sent("POST", CREATE, "signed by a doctor")
    done = ended(task)
    same((done["id"], done["status"]), (task["id"], "DONE"), "the task's end")
    true(before <= moment(done["doneAt"]) <= now(), f"{done} was done at another time")
    [link] = done["links"]
    same(link["entity"], "eHealth/composition", "what the link is to")
    true(link["href"].startswith("composition/"), f"{link} leads elsewhere")
    # Without the prefix it is the same.
    bare = JOB.removeprefix("/api") + task["id"].upper()
    same(task_of(call("GET", bare, headers=ME))["links"], done["links"], "links without /api")
    old = task_of(call("GET", OLD_JOB + task["id"], headers=ME))
    same((old["status"], old["links"]), ("processed", done["links"]), "the older form")
    same(old["status_code"], 200, "the code of a task that is done")
    true("error" not in old, f"{old} has an error")


def sign_and_done():
    signed = str(uuid.uuid4())
    for prefix, what in (("", "sign"), ("/api", "sign"), ("", "cancel")):
        path = f"{prefix}/patients/composition/{signed}/{what}"
        done = ended(sent("PATCH", path, "signature"))
        same(done["links"][0]["href"], f"composition/{signed}", "the composition that was signed")


def failed():
    task = sent("POST", CREATE, "refuse")
    done = ended(task)
    same(done["status"], "FAILED", "the status")
    same(
        done["links"],
        [{"entity": "eHealth/composition", "error": "no such patient"}],
        "the links of a failure",
    )
    old = task_of(call("GET", OLD_JOB + task["id"], headers=ME))
    same((old["status"], old["status_code"]), ("failed", 422), "a failure in the older form")
    error = {"type": "validation_failed", "message": "no such patient", "invalid": []}
    same(old["error"], error, "its reason")


def pending():
    task = sent("POST", CREATE, "wait")
    old = task_of(call("GET", OLD_JOB + task["id"], headers=ME))
    same(old["status"], "pending", "the older form")
    same(old["links"], [{"entity": "job", "href": f"/jobs/{task['id']}"}], "its own link")
    same(task_of(call("GET", JOB + task["id"], headers=ME))["status"], "PENDING", "the status")
    sent("POST", CREATE, "signal")
    same(ended(task)["status"], "DONE", "the status after all")


def envelope(answer, status):
    body = answer.expect(status).json()
    meta, error = body["meta"], body["error"]
    same(meta["code"], status, f"{answer}: meta.code")
    same(meta["url"], URL + answer.call.split(" ")[1], f"{answer}: meta.url")
    same(meta["request_id"], answer.headers["X-Request-Id"], f"{answer}: meta.request_id")
    true(meta["type"] and error["type"], f"{answer}: no types")
    true(isinstance(error["invalid"], list), f"{answer}: no list of what is invalid")
    return error["message"]


def nothing_there():
    for unknown in (str(uuid.uuid4()), "7", "not-a-uuid"):
        for path in (JOB, OLD_JOB):
            message = envelope(call("GET", path + unknown, headers=ME), 404)
            same(message, "Task not found", "the message")


def broken_requests():
    path = JOB + str(uuid.uuid4())
    sign = f"/patients/composition/{uuid.uuid4()}/sign"
    kind = {"Content-Type": "nonsense"}
    for answer in (
        call("GET", path + "?a=%zz", headers=ME),
        call("GET", path, headers={**ME, **kind}),
        call("PATCH", sign, {"data": "not base64!"}, ME),
        call("PATCH", sign, {"data": ["YQ=="]}, ME),
        call("PATCH", sign, {}, ME),
        call("PATCH", sign.replace("-", ""), signed("x"), ME),
        call("POST", CREATE, b"[]", ME),
        call("POST", CREATE, b"YQ==", ME),
        call("POST", CREATE, b"", ME),
    ):
        same(envelope(answer, 400), "Invalid request format", "the message")


def who_may_not():
    task = sent("POST", CREATE, "private")
    job = JOB + task["id"]
    bearer = {"Authorization": ME["Authorization"]}
    for headers in (
        {},
        {"api-key": KEY},
        bearer,
        {**bearer, "api-key": "wrong"},
        {**basic(), "api-key": KEY},
        shown("forged"),
        shown(token("composition:create")),
        shown(token("job:read")),
    ):
        answer = call("GET", job, headers=headers)
        envelope(answer, 401)
        true(answer.headers["WWW-Authenticate"].startswith("Bearer"), f"{answer}: no challenge")
    envelope(call("POST", CREATE, composition("x"), shown(token("composition:read"))), 401)
    sign = f"/patients/composition/{task['id']}/sign"
    envelope(call("PATCH", sign, signed("x"), shown(token("composition:create"))), 401)
    # What is not there is not there for anyone, whatever is sent with it.
    for headers in ({}, ME, shown("forged"), basic("ada", "wrong")):
        envelope(call("POST", "/api/patients/prescription", {}, headers), 404)
    envelope(call("GET", OLD_JOB + task["id"], headers=shown(token("composition:read"))), 401)
    # Someone else, who lacks the right and not the scope; and with the key of another user.
    user, password, key = os.environ["GATEWAY_LIMITED"].split(":")
    other = token(*SCOPES, headers=basic(user, password))
    envelope(call("POST", CREATE, composition("x"), shown(other, key)), 401)
    task_of(call("GET", job, headers=shown(other, key)))
    envelope(call("GET", job, headers=shown(other)), 401)


def tokens():
    """All the ways to get one, each good for a call."""
    user, password = os.environ["GATEWAY_USER"], os.environ["GATEWAY_PASSWORD"]
    form = {"client_id": user, "client_secret": password}
    for given in (
        token(*SCOPES),
        token(*SCOPES, path="/api/oauth/token"),
        token(*SCOPES, path="/oauth/token"),
        token(*SCOPES, headers={}, **form),
        token("composition:create", headers={}, **form),
    ):
        call("POST", CREATE, composition("x"), shown(given)).expect(202)
    wrong = call("POST", "/oauth/token", b"grant_type=client_credentials", basic("ada", "wrong"))
    same(wrong.expect(401).json()["error"], "invalid_client", "the error of OAuth")


def odd_headers():
    """Names without regard to case: here they are sent as they are written."""
    task = sent("POST", CREATE, "x")
    server = urllib.parse.urlsplit(URL).netloc
    connection = http.client.HTTPSConnection(server, context=TLS, timeout=60)
    access_token = ME["Authorization"].removeprefix("Bearer ")
    for authorization, key, scheme in (
        ("AUTHORIZATION", "API-KEY", "BEARER"),
        ("authorization", "Api-Key", "bearer"),
    ):
        headers = {authorization: f"{scheme} {access_token}", key: KEY}
        connection.request("GET", JOB + task["id"], headers=headers)
        answer = connection.getresponse()
        answer.read()
        same(answer.status, 200, f"the status with {authorization} and {key}")
    connection.close()


create_wait_done()
sign_and_done()
failed()
pending()
nothing_there()
broken_requests()
who_may_not()
tokens()
odd_headers()
