"""A server on the loopback that speaks as much of the Hugging Face hub's API as its clients use, and its storage on another
host. Both can be told to misbehave."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import threading
import urllib.parse

TOKEN = "hf_thisTokenMustNotGoAnywhereElse"


def git_blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def clean_environment():
    """That of this process, without what sets up Kvasir, the hub's clients, or a proxy."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("KVASIR_", "HF_")) and not name.lower().endswith("_proxy")}


class Repo:
    """A commit of a repository: its files by path."""

    def __init__(self, name, files, commit=None):
        self.name = name
        self.files = dict(files)
        self.commit = commit or hashlib.sha1(name.encode() + repr(sorted(self.files)).encode()).hexdigest()

    @staticmethod
    def is_large(path):
        """Whether the file lies in LFS, that is on the other host."""
        return path.endswith((".safetensors", ".gguf", ".bin"))

    def etag(self, path):
        content = self.files[path]
        return hashlib.sha256(content).hexdigest() if self.is_large(path) else git_blob_id(content)


def folder_files(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir() if path.is_file()}


class Request:
    def __init__(self, handler, is_storage):
        self.method = handler.command
        self.path = urllib.parse.urlsplit(handler.path).path
        self.headers = dict(handler.headers)
        self.is_storage = is_storage

    def __repr__(self):
        return f"{'storage' if self.is_storage else 'hub'}: {self.method} {self.path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_storage = False

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # clients that are stopped
            super().handle()

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub = self.server.hub
        request = Request(self, self.is_storage)
        with hub.lock:
            hub.requests.append(request)
            fault = next((f for f in hub.faults if f.applies(request)), None)
            if fault:
                fault.times -= 1
        if fault and fault.run(self):
            return
        self.storage_answer() if self.is_storage else self.hub_answer()

    def reply(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value):
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def refuse(self, status, code, message="refused"):
        self.reply(status, {"X-Error-Code": code, "X-Error-Message": message}, b"Refused.")

    def hub_answer(self):
        hub = self.server.hub
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path)
        if match:
            name, kind, revision = match.groups()
            if name not in hub.repos:
                return self.refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
            repo = hub.commit_of(name, revision or "main")
            if repo is None:
                return self.refuse(404, "RevisionNotFound")
            if kind == "tree":
                return self.reply_json([self.tree_entry(repo, file) for file in repo.files])
            return self.reply_json({
                "_id": "0", "id": name, "modelId": name, "author": name.split("/")[0], "sha": repo.commit, "private": False,
                "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                "siblings": [self.sibling(repo, file) for file in hub.listed.get(name, repo.files)]})
        match = re.fullmatch(r"/(?:(api/resolve-cache/models)/)?([^/]+/[^/]+)/(?:resolve/)?([0-9a-f]{40}|main|v1)/(.+)", path)
        if not match or match[2] not in hub.repos:
            return self.refuse(404, "RepoNotFound")
        is_cached, name, revision, file = match.groups()
        repo = hub.commit_of(name, revision)
        if repo is None:
            return self.refuse(404, "RevisionNotFound")
        if file not in repo.files:
            return self.reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        content = repo.files[file]
        if repo.is_large(file):
            etag = hub.etags.get(file, repo.etag(file))
            return self.reply(302, {
                "X-Repo-Commit": repo.commit, "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(hub.sizes.get(file, len(content))), "ETag": '"not-this-one"',
                "Location": f"{hub.storage_url}/{repo.etag(file)}?Signature=secretOfTheUrl"})
        if not is_cached:
            # As the hub has it since 2025: small files come from another path of the same host.
            return self.reply(307, {"X-Repo-Commit": repo.commit,
                                    "Location": f"/api/resolve-cache/models/{name}/{repo.commit}/{urllib.parse.quote(file)}"})
        etag = hub.etags.get(file, repo.etag(file))
        self.reply(200, {"X-Repo-Commit": repo.commit, "ETag": f'W/"{etag}"'}, content)

    def sibling(self, repo, file):
        is_asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("blobs") == ["true"]
        return {"rfilename": file} | ({"size": len(repo.files[file])} if is_asked and file in repo.files else {})

    @staticmethod
    def tree_entry(repo, file):
        content = repo.files[file]
        entry = {"type": "file", "path": file, "size": len(content), "oid": git_blob_id(content)}
        if repo.is_large(file):
            entry["lfs"] = {"oid": repo.etag(file), "size": len(content), "pointerSize": 130}
        return entry

    def storage_answer(self):
        hub = self.server.hub
        etag = urllib.parse.urlsplit(self.path).path.strip("/")
        if self.headers.get("Authorization"):
            return self.reply(400)
        content = hub.content(etag)
        if content is None:
            return self.reply(404)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not wanted:
            return self.reply(200, {"ETag": '"of-the-storage"', "Accept-Ranges": "bytes"}, content)
        begin = int(wanted[1])
        if begin >= len(content):
            return self.reply(416, {"Content-Range": f"bytes */{len(content)}"})
        self.reply(206, {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}, content[begin:])


class StorageHandler(Handler):
    is_storage = True


class Fault:
    """What happens to the next `times` requests whose method and path match; run() returns whether it has answered."""

    def __init__(self, run, path="", method="GET", times=1, is_storage=None):
        self.run, self.path, self.method, self.times, self.is_storage = run, path, method, times, is_storage

    def applies(self, request):
        return (self.times > 0 and request.method == self.method and self.path in request.path
                and self.is_storage in (None, request.is_storage))


class FakeHub:
    """Hub and storage, each at a port of its own; `with FakeHub() as hub`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.repos = {}     # name -> {revision: Repo}
        self.requests = []  # in order
        self.faults = []
        self.listed, self.etags, self.sizes = {}, {}, {}  # what is said instead of the truth

    def __enter__(self):
        self.servers = []
        for handler in (Handler, StorageHandler):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            server.hub = self
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            self.servers.append(server)
        self.url = f"http://127.0.0.1:{self.servers[0].server_port}"
        # The same machine under another name.
        self.storage_url = f"http://localhost:{self.servers[1].server_port}"
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def add(self, name, files, revision="main"):
        repo = Repo(name, files)
        self.repos.setdefault(name, {})[revision] = repo
        return repo

    def commit_of(self, name, revision):
        repos = self.repos[name]
        return repos.get(revision) or next((repo for repo in repos.values() if repo.commit == revision), None)

    def content(self, etag):
        for repos in self.repos.values():
            for repo in repos.values():
                for path, content in repo.files.items():
                    if repo.is_large(path) and repo.etag(path) == etag:
                        return content
        return None

    def paths(self, method="GET", is_storage=None):
        with self.lock:
            return [request.path for request in self.requests
                    if request.method == method and is_storage in (None, request.is_storage)]

    def fail(self, run, path="", **options):
        self.faults.append(Fault(run, path, **options))


# Faults.

def status(code, **headers):
    def run(handler):
        handler.reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, b"no")
        return True
    return run


def refuse(code, error_code):
    def run(handler):
        handler.refuse(code, error_code)
        return True
    return run


def break_after(num_bytes):
    """The connection ends after so many bytes of the body."""
    def run(handler):
        class Breaking:
            def __init__(self, file):
                self.file, self.is_body, self.left = file, False, num_bytes

            def write(self, data):
                if not self.is_body:
                    self.is_body = data.endswith(b"\r\n\r\n")
                    return self.file.write(data)
                self.file.write(data[:self.left])
                handler.close_connection = True
                return len(data)

            def __getattr__(self, name):
                return getattr(self.file, name)

        handler.wfile = Breaking(handler.wfile)
        return False
    return run


def without_ranges(handler):
    """As a server that does not know the header Range."""
    del handler.headers["Range"]
    return False


def body(content, **headers):
    """Another body than the right one."""
    def run(handler):
        handler.reply(200, {name.replace("_", "-"): value for name, value in headers.items()}, content)
        return True
    return run


def wait_until(event):
    """Sends nothing until then."""
    def run(_):
        event.wait()
        return False
    return run
