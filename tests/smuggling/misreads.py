"""A server that reads no body but that of PUT, goes by Content-Length only, skips lines that are no request, and keeps its
connections: what `through_proxy.py` must notice.

    misreads.py PORT
"""

import http.server
import re
import sys
import threading

values, count, lock = {}, 0, threading.Lock()


class Misreads(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def parse_request(self):
        while self.raw_requestline and not re.match(rb"[A-Z]+ \S+ HTTP/1\.1\r\n$", self.raw_requestline):
            self.raw_requestline = self.rfile.readline()
        return bool(self.raw_requestline) and super().parse_request()

    def handle_any(self):
        global count
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if self.command == "PUT" else b""
        with lock:
            if self.command == "PUT":
                values[self.path] = body
            elif self.command == "DELETE":
                values.pop(self.path, None)
            count += self.path != "/metrics"
            found = values.get(self.path)
            if self.path == "/metrics":
                found = b'lockstep_http_request_duration_seconds_count{route=""} %d\n' % count
        self.send_response(404 if found is None else 200)
        self.send_header("Lockstep-History", "00000000-0000-0000-0000-000000000000")
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found or b"")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Misreads).serve_forever()
