"""Sends the corpus through a proxy that forbids one key, and looks at what the node behind it saw.

    through_proxy.py PROXY_PORT NODE_PORT PROXY_LOG [TEXT]     with TEXT, only cases that have it in their name

An attacker sends each case. Then a victim, another client of the proxy, reads two keys. The proxy keeps one connection to
the node for both. After each case

- the forbidden key is not there,
- the victim got its own answers,
- the node has handled as many requests as the proxy has forwarded, by its log. That has a line for each request: the
  history that the node's answer names, or `-` where the node refused to read the request or was not asked; the status of
  the answer; the request.

Prints what is wrong, and ends with 1.
"""

import http.client
import json
import pathlib
import re
import socket
import sys
import time

PUT = "PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = "PUT /v1/kv/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
NEXT = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
VICTIM = {"/v1/kv/victim-1": b"the first value", "/v1/kv/victim-2": b"the second value"}
# Seconds that anything may take.
PATIENCE = 10
COUNT = re.compile(r'^lockstep_http_request_duration_seconds_count\{route="([^"]*)".*\} (\d+)$', re.M)

proxy, node = int(sys.argv[1]), int(sys.argv[2])
log = pathlib.Path(sys.argv[3])


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def handled():
    """How many requests the node has handled, beside those for this figure."""
    metrics = ask(node, "GET", "/metrics")[1].decode()
    return sum(int(count) for route, count in COUNT.findall(metrics) if route != "/metrics")


def forwarded():
    """How many answers of the node the proxy has noted, and how many it did not wait for or did not take."""
    lines = log.read_text(errors="replace").splitlines()
    return [sum(1 for line in lines if re.match(form, line)) for form in [r"\{?[0-9a-f]{8}-", r"\S+ (408|499|502|504) "]]


def attack(text):
    """Sends, and reads until the proxy closes."""
    with socket.create_connection(("127.0.0.1", proxy), timeout=PATIENCE) as stream:
        try:
            stream.sendall((text + NEXT).encode("latin-1"))
            while stream.recv(65536):
                pass
        except ConnectionError:
            pass


def victim():
    """What is wrong with the answers to a client that did nothing wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=PATIENCE)
    wrong = []
    for path, value in VICTIM.items():
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            found = answer.status, answer.read()
        except (http.client.HTTPException, OSError) as error:
            found = repr(error)
        if found != (200, value):
            wrong.append(f"the victim asked for {path} and got {found}")
    connection.close()
    return wrong


def check(case):
    handled_before, forwarded_before = handled(), forwarded()
    attack(case["send"].replace("{put}", PUT).replace("{smuggled}", SMUGGLED))
    wrong = victim()
    deadline = time.monotonic() + PATIENCE
    while True:
        at_node = handled() - handled_before
        answered, given_up = (now - before for now, before in zip(forwarded(), forwarded_before))
        if answered <= at_node <= answered + given_up:
            break
        # The proxy may note a request later than it answers.
        if time.monotonic() > deadline:
            wrong.append(f"the node handled {at_node} requests, the proxy forwarded {answered}, and gave {given_up} up")
            break
        time.sleep(0.01)
    if ask(node, "GET", "/v1/kv/smuggled")[0] != 404:
        wrong.append("the forbidden key was written")
        ask(node, "DELETE", "/v1/kv/smuggled")
    return wrong


for path, value in VICTIM.items():
    ask(node, "PUT", path, value)
status = ask(proxy, "PUT", "/v1/kv/smuggled", b"x")[0]
if status != 403:
    sys.exit(f"the proxy does not forbid the key: {status}")
cases = json.loads((pathlib.Path(__file__).parent / "corpus.json").read_text())
cases = [case for case in cases if "".join(sys.argv[4:]) in case["name"]]
found = [f"{case['name']}: {wrong}" for case in cases for wrong in check(case)]
print(*found, sep="\n", end="\n" if found else "")
print(f"{len(cases)} cases, {forwarded()[0]} requests forwarded, {len(found)} wrong")
sys.exit(1 if found else 0)
