"""A client of the Alteryx dialect: tokens, jobs, polling, outputs, lists, cancelling.

GATEWAY_ADA and GATEWAY_BOB are `user:password` of two who may upload, list and download
`report`, GATEWAY_CURATOR that of a curator who may list it. `report` has the alias `Monthly-Report`. Its processor keeps the request as
`request.json` and what it was asked as `b.txt`; it fails when asked to `fail` and runs forever
when asked to `run`. No worker answers to the tag `nobody`.
"""

import re
import threading
import urllib.parse

from gateway import basic, call, login, same, true, until

JOB = {
    "id",
    "appId",
    "createDateTime",
    "status",
    "disposition",
    "outputs",
    "messages",
    "priority",
    "workerTag",
    "runWithE2",
}
LISTED = {"id", "createDate", "status", "priority", "workerTag", "runWithE2"}
JOBS = "/webapi/v3/workflows/report/jobs"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def ok(*arguments, **more):
    return call(*arguments, **more).expect(200).json()


def token(who):
    grant = b"grant_type=client_credentials"
    given = ok("POST", "/webapi/oauth2/token", grant, {**FORM, **basic(*login(who))})
    same(given["token_type"], "Bearer", "the type of a token")
    true(isinstance(given["expires_in"], int) and given["expires_in"] > 60, "it expires", given)
    return {"Authorization": f"Bearer {given['access_token']}"}


def tokens():
    user, secret = login("ada")
    form = {"grant_type": "client_credentials", "client_id": user, "client_secret": secret}
    encoded = urllib.parse.urlencode(form).encode()
    # With credentials in the form, and a path as others write it.
    given = ok("POST", "/webapi/OAuth2/Token/", encoded, FORM)
    by_form = {"Authorization": f"bearer {given['access_token']}"}
    ok("GET", JOBS, headers=by_form)

    # There are no scopes: public clients send some, and mean all.
    scoped = urllib.parse.urlencode({**form, "scope": "user", "resource": "x"}).encode()
    given = ok("POST", "/webapi//oauth2/token", scoped, FORM)
    with_scope = {"Authorization": f"Bearer {given['access_token']}"}
    ok("GET", JOBS, headers=with_scope)
    post(headers_of=with_scope)

    def refused(body, headers, status, error):
        answer = call("POST", "/webapi/oauth2/token", body, {**FORM, **headers})
        same(answer.status, status, "the status of a refused token")
        same(answer.json()["error"], error, "the error of a refused token")
        true(answer.json()["message"], "it has a message", answer)
        return answer

    grant = b"grant_type=client_credentials"
    answer = refused(grant, basic("ada", "wrong"), 401, "invalid_client")
    true("WWW-Authenticate" in answer.headers, "a 401 says what is wanted", answer)
    refused(grant, {}, 401, "invalid_client")
    refused(
        urllib.parse.urlencode({**form, "client_secret": "no"}).encode(), {}, 401, "invalid_client"
    )
    refused(b"grant_type=password", basic(*login("ada")), 400, "unsupported_grant_type")
    refused(b"", basic(*login("ada")), 400, "invalid_request")
    same(call("GET", "/webapi/oauth2/token").status, 405, "a token is not to be fetched")


def strangers():
    forged = {"Authorization": by["ada"]["Authorization"][:-2] + "AA"}
    for headers in [{}, basic(*login("ada")), forged, {"Authorization": "Bearer"}]:
        for method, path in [("POST", JOBS), ("GET", JOBS), ("GET", f"/webapi/v3/jobs/{'0' * 24}")]:
            answer = call(method, path, headers=headers)
            same(answer.status, 401, f"{method} {path} of a stranger")
            true(answer.json()["message"], "it has a message", answer)
            true(answer.headers["WWW-Authenticate"].startswith("Bearer"), "and a challenge", answer)


def post(body=None, path=JOBS, who="ada", headers_of=None, **headers):
    headers = {**(headers_of or by[who]), **headers}
    job = ok("POST", path, body, headers)
    same(set(job) - {"createDate"}, JOB, "the members of a new job")
    same((job["status"], job["disposition"]), ("Queued", "None"), "a new job's status")
    same((job["outputs"], job["messages"]), ([], []), "what a new job has")
    true(re.fullmatch("[0-9a-f]{24}", job["id"]), "an id has 24 hexadecimal digits", job)
    true(MOMENT.fullmatch(job["createDateTime"]), "a moment is RFC 3339 in milliseconds", job)
    return job


def get(job, who="ada", query=""):
    return ok("GET", f"/webapi/v3/jobs/{job['id']}{query}", headers=by[who])


def ended(job, who="ada"):
    def look():
        now = get(job, who)
        true(now["status"] in ("Queued", "Running", "Completed"), "a status on the way", now)
        return now, now["status"] == "Completed"

    return until(f"{job} to be completed", look)


def output(job, at, who="ada", query="?format=Raw", **headers):
    path = f"/webapi/v1/jobs/{job['id']}/output/{job['outputs'][at]['id']}{query}"
    return call("GET", path, headers={**by[who], **headers})


def a_job_without_a_body():
    job = ended(post())
    same(job["disposition"], "Success", "the disposition")
    same(job["priority"], "Default", "the priority")
    names = [made["fileName"] for made in job["outputs"]]
    same(names, ["b.txt", "request.json"], "the outputs")
    true(all("Raw" in made["availableFormats"] for made in job["outputs"]), "all are raw", job)
    same(output(job, 1).body, b"{}", "the request of a job without a body")
    # `appId` is a workflow's.
    same(
        ended(post(path=f"/webapi/v3/workflows/{job['appId']}/jobs"))["appId"],
        job["appId"],
        "appId",
    )


def a_job_with_everything():
    body = b""" {"questions": [ {"name":"Month","value":"2026-11"}, {"name":"Copies","value":2},
      {"name":"None","value":null,"description":"extra"}],
      "priority":"High","workerTag":"robot-1","credentialId":"64f0c0de0123456789abcdef","more":{"x":1.50}} """
    job = post(body, "/webapi/V3/Workflows/Monthly-Report/Jobs/", **{"Content-Type": "text/plain"})
    same(job["appId"], "Monthly-Report", "the workflow as it was asked for")
    job = ended(job)
    same(job["appId"], "Monthly-Report", "the workflow, afterwards")
    same((job["priority"], job["workerTag"]), ("High", "robot-1"), "priority and tag")
    whole = output(job, 1)
    same(whole.body, body, "the request as it was sent")
    true("attachment" in whole.headers["Content-Disposition"], "a file is to be saved", whole)
    part = output(job, 1, query="", Range="bytes=1-5")
    same((part.status, part.body), (206, body[1:6]), "a part of it")
    same(
        output(job, 0, query="?Format=raw").headers["Content-Type"].split(";")[0],
        "text/plain",
        "a type",
    )
    same(output(job, 0, query="?format=Yxdb").status, 400, "another format")
    for end in ["0", "f" * 24, f"{2:024x}"]:
        path = f"/webapi/v1/jobs/{job['id']}/output/{end}"
        same(call("GET", path, headers=by["ada"]).status, 404, f"no output {end}")


def spellings():
    for body in [
        {"Priority": "lOW"},
        {"PRIORITY": "critical", "WorkerTag": None},
        {"questions": []},
        {"questions": None, "priority": None, "credentialId": None},
        {"priority": ""},
    ]:
        post(body)
    job = ended(post({"priority": "low"}))
    same(job["priority"], "Low", "a priority is shown as it is called")
    again = ok(
        "GET", f"/WebAPI/v3/Jobs/{job['id'].upper()}/?IncludeMessages=TRUE", headers=by["ada"]
    )
    same(again, job, "the same job by another spelling")


def what_is_wrong():
    for body, field in [
        ({"priority": "Urgent"}, "priority"),
        ({"priority": {}}, "priority"),
        ({"workerTag": "*"}, "workerTag"),
        ({"workerTag": ["a"]}, "workerTag"),
        ({"credentialId": []}, "credentialId"),
        ({"questions": {}}, "questions"),
        ({"questions": [1]}, "questions[0]"),
        ({"questions": [{"value": 1}]}, "questions[0].name"),
        (b'{"priority":"Low","priority":"Low"}', "priority"),
        (b"questions=1", None),
        (b"[]", None),
        (b'{"a":', None),
        (b"\xff{}", None),
    ]:
        answer = call("POST", JOBS, body, by["ada"])
        same(answer.status, 400, f"the status for {body!r}")
        said = answer.json()
        true(isinstance(said["message"], str), "it has a message", answer)
        texts = list(said["modelState"].items())
        true(field in (None, texts[0][0]), f"{field} is named", answer)
        true(all(isinstance(text, str) for text in texts[0][1]), "with texts", answer)
    for query in [
        "status=Lost",
        "limit=-1",
        "offset=x",
        "sortField=?",
        "direction=up",
        "resultCode=9",
    ]:
        answer = call("GET", f"{JOBS}?{query}", headers=by["ada"])
        same(
            (answer.status, list(answer.json()["modelState"])), (400, [query.split("=")[0]]), query
        )
    for method, path in [
        ("POST", "/webapi/v3/workflows/nothing/jobs"),
        ("GET", "/webapi/v3/workflows/..%2f/jobs"),
        ("GET", f"/webapi/v3/jobs/{'0' * 24}"),
        ("GET", "/webapi/v3/jobs/1"),
        ("DELETE", f"/webapi/v3/jobs/{'f' * 24}"),
        ("GET", "/webapi/v3/jobs"),
        ("GET", "/webapi/v2/jobs"),
    ]:
        answer = call(method, path, headers=by["ada"])
        same(answer.status, 404, f"{method} {path}")
        true(answer.json()["message"], "it has a message", answer)
    answer = call("PUT", JOBS, {}, by["ada"])
    same((answer.status, "POST" in answer.headers["Allow"]), (405, True), "another method")


def a_failure_and_its_messages():
    job = ended(post({"questions": [{"name": "fail", "value": "yes"}]}))
    same(
        (job["status"], job["disposition"], job["outputs"]), ("Completed", "Error", []), "a failure"
    )
    found = [message for message in job["messages"] if message["text"] == "no paper"]
    same(found, [{"status": 3, "text": "no paper", "toolId": 12}], "its message")
    true({"status": 2, "text": "little ink", "toolId": -1} in job["messages"], "and a warning", job)
    same(get(job, query="?includeMessages="), job, "with messages, by default")
    reduced = get(job, query="?includeMessages=false")
    same(reduced, {name: job[name] for name in JOB - {"messages"}}, "without")
    path = f"/webapi/v3/jobs/{job['id']}/messages"
    same(ok("GET", path, headers=by["curator"]), job["messages"], "the messages alone")
    answer = call("GET", path, headers=by["ada"])
    same(answer.status, 401, "messages are for curators")
    answer = call("GET", f"/webapi/v3/jobs/{'0' * 24}/messages", headers=by["curator"])
    same(answer.status, 404, "messages of no job")


def delete(job, who="ada"):
    answer = call("DELETE", f"/webapi/v3/jobs/{job['id']}", headers=by[who])
    return answer.status, answer.json()


def cancelling():
    over = (400, {"message": "This job is not in 'Queued' or 'Running' state."})
    queued = post({"workerTag": "nobody"})
    same(get(queued)["status"], "Queued", "a job for no worker")
    denied = (400, {"message": "You do not have permission to cancel this job."})
    same(delete(queued, "bob"), denied, "cancelling someone else's job")
    same(delete(queued), (200, {"message": "Deleted Successfully."}), "cancelling a queued job")
    same(delete(queued)[0], 404, "cancelling it twice")
    for path in (f"/{queued['id']}", f"/{queued['id']}/messages"):
        for who in ("ada", "curator"):
            answer = call("GET", f"/webapi/v3/jobs{path}", headers=by[who])
            same(answer.status, 401 if "messages" in path and who == "ada" else 404, "it is gone")
    listed = ok("GET", f"{JOBS}?status=Cancelled", headers=by["ada"])
    true(queued["id"] not in [job["id"] for job in listed], "and on no list", listed)
    same(delete(ended(post())), over, "cancelling what has ended")
    running = post({"questions": [{"name": "run"}]})
    until("a job runs", lambda: (running, get(running)["status"] == "Running"))
    same(delete(running, "curator"), (200, {"message": "Cancelled Successfully."}), "a running job")
    cancelled = get(running)
    same((cancelled["status"], cancelled["outputs"]), ("Cancelled", []), "what is left of it")


def lists():
    mine = [
        post({"priority": priority, "workerTag": "nobody"}, who="bob")["id"]
        for priority in ["Low", "Critical", "Medium"]
    ]

    def listed(query, who="bob"):
        jobs = ok("GET", f"{JOBS}?{query}", headers=by[who])
        true(all(set(job) == LISTED for job in jobs), "the members of a list", jobs)
        true(
            all(MOMENT.fullmatch(job["createDate"]) for job in jobs), "the moments of a list", jobs
        )
        return [job["id"] for job in jobs]

    same(listed("status=Queued"), mine, "bob's jobs that wait, oldest first")
    same(listed("status=Queued&direction=desc"), mine[::-1], "the newest first")
    same(listed("STATUS=queued&offset=1&limit=1"), mine[1:2], "a page")
    same(listed("offset=3"), [], "no more")
    same(listed("status=Running&limit="), [], "none that runs")
    in_turn = [mine[1], mine[2], mine[0]]
    same(listed("sortField=priority"), in_turn, "by priority")
    same(listed("sortfield=Priority&direction=DESC"), in_turn[::-1], "by priority, turned round")
    done = ended(post(who="bob"), "bob")["id"]
    same(listed("status=Complete"), [done], "those that are complete")
    same(listed("resultCode=Success"), [done], "those that succeeded")
    same(
        listed("status=Error") + listed("status=Queued&resultCode=Success"), [], "none that failed"
    )
    true(not set(mine) & set(listed("limit=500", "ada")), "ada does not see bob's")
    true(set(mine) <= set(listed("limit=500", "curator")), "a curator sees all")
    same(call("GET", f"/webapi/v3/jobs/{mine[0]}", headers=by["ada"]).status, 404, "nor one")
    same(get({"id": mine[0]}, "curator")["status"], "Queued", "a curator sees each")
    for job in mine:
        delete({"id": job}, "bob")


def workflows():
    workflow = {
        "id",
        "sourceAppId",
        "name",
        "ownerId",
        "dateCreated",
        "publishedVersionNumber",
        "isAmp",
        "executionMode",
        "workerTag",
        "runCount",
    }
    [found] = ok("GET", "/webapi//v3/workflows", headers=by["ada"])
    same(set(found), workflow, "the members of a workflow")
    same(found["name"], "report", "its name")
    true(re.fullmatch("[0-9a-f]{24}", found["id"]), "its id has 24 digits", found)
    true(MOMENT.fullmatch(found["dateCreated"]), "its moment", found)
    for query, expected in (("?name=REPORT", [found]), ("?name=nothing", [])):
        same(ok("GET", "/webapi/v3/workflows/" + query, headers=by["ada"]), expected, query)
    same(ok("GET", "/webapi/v3/workflows", headers=by["curator"]), [], "what a curator may run")
    for name in (found["id"], "report", "Monthly-Report"):
        one = ok("GET", f"/webapi/v3/workflows/{name}", headers=by["ada"])
        same({**one, "id": 0, "sourceAppId": 0}, {**found, "id": 0, "sourceAppId": 0}, name)
        same(one["id"], name, "the id as it was asked for")
        questions = ok("GET", f"/webapi/v3/workflows/{name}/questions", headers=by["ada"])
        same(questions, [], "its questions")
    for path in ("nothing", "orders_in", "nothing/questions"):
        answer = call("GET", f"/webapi/v3/workflows/{path}", headers=by["ada"])
        same(answer.status, 404, f"the workflow {path}")
    # By the older version, and by the id that the list has.
    job = post(path=f"/webapi/v1/workflows/{found['id']}/jobs/")
    same(job["appId"], found["id"], "the workflow as it was asked for")
    old = ok("GET", f"/webapi/v1/jobs/{ended(job)['id']}/", headers=by["ada"])
    same({**get(job), "createDate": job["createDateTime"]}, old, "the job by the older version")
    counted = ok("GET", f"/webapi/v3/workflows/{found['id']}", headers=by["ada"])
    true(counted["runCount"] > found["runCount"], "runs are counted", counted)


def repeated_and_at_once():
    first = post({"priority": "High"}, **{"Idempotency-Key": "k1"})
    again = post({"priority": "High"}, **{"Idempotency-Key": "k1"})
    same(again["id"], first["id"], "the job of a repeated request")
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(post()["id"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(len(set(ids)), 8, "the number of jobs made at once")
    for job in ids:
        ended({"id": job})


by = {who: token(who) for who in ("ada", "bob", "curator")}
workflows()
tokens()
strangers()
a_job_without_a_body()
a_job_with_everything()
spellings()
what_is_wrong()
a_failure_and_its_messages()
cancelling()
lists()
repeated_and_at_once()
