"""POST /v1/completions over HTTP for a peer that is a library: the part that our two adapters share. Streams only."""

import http.server
import json
import socket


def make_server(port, engine):
    """A server at a port of this machine. `engine.complete(prompt, max_tokens)` is a generator of the text of each token
    and returns the usage: {"prompt_tokens", "completion_tokens", "cached_tokens" where it is known}."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.reply(200, {"data": [{"id": engine.name}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            if self.path != "/v1/completions":
                return self.reply(404, {"error": {"message": f"there is no {self.path}"}})
            if not isinstance(body.get("prompt"), str) or not body.get("stream"):
                return self.reply(400, {"error": {"message": "expected a prompt, and stream: true"}})
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            usage = None
            tokens = engine.complete(body["prompt"], body.get("max_tokens", 16))
            while usage is None:
                try:
                    self.event({"choices": [{"index": 0, "text": next(tokens), "finish_reason": None}]})
                except StopIteration as end:
                    usage = end.value
            if "cached_tokens" in usage:
                usage["prompt_tokens_details"] = {"cached_tokens": usage.pop("cached_tokens")}
            self.event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
            self.event({"choices": [], "usage": usage})
            self.chunk("data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def event(self, data):
            self.chunk(f"data: {json.dumps(data)}\n\n")

        def chunk(self, text):
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        def reply(self, status, data):
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server(("127.0.0.1", port), Handler)


def serve(port, engine):
    """Serves until the process is ended."""
    with make_server(port, engine) as server:
        print(f"serving at http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
