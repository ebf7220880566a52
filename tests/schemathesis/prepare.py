"""Writes the server's description with jobs in its examples that the server has.

    python3 prepare.py URL CA-FILE USER:PASSWORD TOKEN
"""

import base64
import json
import ssl
import sys
import time
import urllib.request

url, ca_file, login, token = sys.argv[1:]
context = ssl.create_default_context(cafile=ca_file)
BASIC = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
BEARER = {"Authorization": f"Bearer {token}"}


def call(path, body=None, headers=BASIC):
    request = urllib.request.Request(url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60, context=context) as response:
        return response.read()


order = (
    b'<ListOfOrders CreationDate="2026-11-22T10:00:00"><Order OrderID="1"><OrderContent>'
    b'<Position No="1"/></OrderContent></Order></ListOfOrders>'
)
task = json.loads(call("/api/v1/default/process/work", b"{}"))
status = f"/api/v1/default/status/{task['task']}?guid={task['runner']}"
process = json.loads(call("/scheduler/connector-api/process/start", b'{"name": "work"}'))
examples = {
    "Interfacename": "orders_in",
    "Jobname": call("/xml/upload", order).decode().strip(),
    "task": task["task"],
    "guid": task["runner"],
    "jobId": json.loads(call("/webapi/v3/workflows/work/jobs", b"{}", BEARER))["id"],
    "robustaSpid": process["robustaSpid"],
    "asyncJobId": process["robustaSpid"],
}
end = time.monotonic() + 60
while json.loads(call(status, headers={}))["result"] is None and time.monotonic() < end:
    time.sleep(0.1)

description = json.loads(call("/openapi.json", headers={}))
for path in description["paths"].values():
    for operation in path.values():
        for parameter in operation.get("parameters", []):
            if parameter.get("name") in examples:
                parameter["example"] = examples[parameter["name"]]
json.dump(description, sys.stdout)
