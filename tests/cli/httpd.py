#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""httpd.py ROOT: git's http-backend over the repositories below ROOT, on a free port of loopback; prints its URL.  For tests."""
import http.server
import os
import subprocess
import sys
import urllib.parse

ROOT = os.path.abspath(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while True:
            n = int(self.rfile.readline().split(b";")[0], 16)
            data += self.rfile.read(n)
            self.rfile.readline()
            if n == 0:
                return data

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        data = self.body()
        env = dict(os.environ, GIT_PROJECT_ROOT=ROOT, GIT_HTTP_EXPORT_ALL="1", PATH_INFO=urllib.parse.unquote(url.path), QUERY_STRING=url.query,
                   REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type", ""), CONTENT_LENGTH=str(len(data)), REMOTE_USER="test",
                   REMOTE_ADDR="127.0.0.1", GIT_PROTOCOL=self.headers.get("Git-Protocol", ""))
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        p = subprocess.run(["git", "http-backend"], input=data, capture_output=True, env=env)
        head, _, body = p.stdout.partition(b"\r\n\r\n")
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line]
        status = next((int(v.split()[0]) for k, v in lines if k.lower() == b"status"), 200 if head else 500)
        self.send_response(status)
        for k, v in lines:
            if k.lower() not in (b"status", b"content-length"):
                self.send_header(k.decode(), v.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = serve


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("http://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
