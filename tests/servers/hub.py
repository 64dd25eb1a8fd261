"""A Hub on 127.0.0.1, spoken to by the real `huggingface_hub` client over HTTP.

    with HubServer() as hub:
        hub.faults.append(Fault("POST", "/commit/", 429, retry_after="1"))
        ...                      # HF_ENDPOINT=hub.url, HF_TOKEN=hub.token
        hub.repos["org/name"].commits, hub.collections, hub.received, hub.requests

In: what the client sends to make, read, fill, tag and download datasets, models and Spaces (no Xet;
an id is of one kind alone), and to make and fill collections. Out: answers as the Hub gives them,
faults as told, and everything that was received. `org` may be written to, other namespaces not; a
private repository is there for the token alone.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

SIGNATURE = "X-Amz-Signature=5ec4e7516na7u4e"


@dataclass
class Fault:
    """What befalls the next `times` requests whose method and path match.

    `status` None is a connection that is cut (an upload: once `after` bytes were read); `hold` is
    waited for before that.
    """

    method: str
    path: str
    status: int | None
    times: int = 1
    message: str = "as told"
    retry_after: str | None = None
    after: int = 0
    hold: threading.Event | None = None


@dataclass(frozen=True)
class File:
    """A file of a commit."""

    content: bytes
    is_lfs: bool

    @property
    def blob(self) -> str:
        """Git's name of what lies in the tree: of an LFS file its pointer."""
        content = self.content
        if self.is_lfs:
            content = f"oid sha256:{self.sha256}\nsize {len(content)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def facts(self, path: str) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "type": "file",
            "path": path,
            "oid": self.blob,
            "size": len(self.content),
        }
        if self.is_lfs:
            facts["lfs"] = {"oid": self.sha256, "size": facts["size"], "pointerSize": 130}
        return facts


Tree = dict[str, File]


@dataclass
class Repo:
    """A repository; `commits` from the first, which made it."""

    private: bool
    kind: str = "dataset"
    sdk: str | None = None  # of a Space
    commits: list[tuple[str, Tree]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit(
            {".gitattributes": File(b"*.parquet filter=lfs\n*.png filter=lfs\n", is_lfs=False)}
        )

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> Tree:
        return self.commits[-1][1]

    def commit(self, tree: Tree) -> str:
        name = hashlib.sha1(f"{len(self.commits)} {sorted(tree)}".encode()).hexdigest()
        self.commits.append((name, tree))
        return name

    def find(self, revision: str) -> tuple[str, Tree]:
        name = self.tags.get(revision, self.head if revision == "main" else revision)
        for commit, tree in self.commits:
            if commit == name:
                return commit, tree
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")


@dataclass
class Collection:
    """A collection; `items` are ids and kinds of repositories."""

    title: str
    private: bool
    items: list[tuple[str, str]] = field(default_factory=list)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class HubServer:
    """The server and all it knows; it serves from threads of this process."""

    token = "hf_loopbackSECRETloopbackSECRET"

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.collections: dict[str, Collection] = {}  # by slug
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, int | None]] = []  # method, path, status
        self.received = Counter[str]()  # bytes of uploads by sha256, also of those that were cut
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked(self, method: str, path: str) -> int:
        """How many requests were of that kind."""
        return sum(m == method and re.search(path, p) is not None for m, p, _ in self.requests)

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request; it is used up."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Bound(_Handler):
        pass

    Bound.hub = hub
    return Bound


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _serve(self) -> None:
        self.route = unquote(urlsplit(self.path).path)
        self.query = parse_qs(urlsplit(self.path).query)
        named = re.match("(?:/api)?/(dataset|model|space)s/", self.route)
        self.kind = named[1] if named else "model"
        fault = self.hub.fault(self.command, self.route)
        try:
            if fault is not None and fault.status is None:
                self._cut(fault)
                return
            self.body = self._read()
            if fault is not None and fault.status is not None:
                self._fail(Refused(fault.status, fault.message), fault.retry_after)
                return
            try:
                with self.hub.lock:
                    self._answer()
            except Refused as refused:
                self._fail(refused)
        except ConnectionError:  # the client went away
            self.close_connection = True

    def _read(self, limit: int | None = None) -> bytes:
        """The request's body, or its first `limit` bytes; bytes of uploads are counted."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks(limit))
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length if limit is None else min(limit, length))
        self._count(data)
        return data

    def _chunks(self, limit: int | None) -> Any:
        seen = 0
        while (size := int(self.rfile.readline().split(b";")[0], 16)) and (
            limit is None or seen < limit
        ):
            data = self.rfile.read(size)
            self._count(data)
            self.rfile.readline()
            seen += size
            yield data
        if size == 0:
            self.rfile.readline()

    def _count(self, data: bytes) -> None:
        if self.command == "PUT" and self.route.startswith("/storage/"):
            self.hub.received[self.route.rpartition("/")[2]] += len(data)

    def _cut(self, fault: Fault) -> None:
        self._read(fault.after)
        self.hub.requests.append((self.command, self.route, None))
        if fault.hold is not None:
            fault.hold.wait(60)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _fail(self, refused: Refused, retry_after: str | None = None) -> None:
        headers = {"X-Error-Message": str(refused)}
        if refused.code:
            headers["X-Error-Code"] = refused.code
        if retry_after:
            headers["Retry-After"] = retry_after
        self._send(refused.status, json.dumps({"error": str(refused)}).encode(), **headers)

    def _json(self, answer: object) -> None:
        self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.hub.requests.append((self.command, self.route, status))
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self) -> None:
        for method, pattern, act in _ROUTES:
            found = re.fullmatch(pattern, self.route)
            if found and self.command in method.split():
                act(self, *found.groups())
                return
        raise Refused(404, "Not Found")

    # Who may do what

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        """The repository, if the caller may see it, and write to it."""
        sent = self.headers.get("Authorization")
        is_known = sent == f"Bearer {self.hub.token}"
        if sent is not None and not is_known:
            raise Refused(401, "Invalid credentials in Authorization header")
        repo = self.hub.repos.get(name)
        if repo is None or repo.kind != self.kind or (repo.private and not is_known):
            raise Refused(404 if is_known else 401, "Repository not found", "RepoNotFound")
        if write and not is_known:
            raise Refused(401, "Invalid username or password.")
        if write and not name.startswith("org/"):
            raise Refused(403, "Forbidden: you don't have write rights")
        return repo

    def _check_owner(self, name: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            raise Refused(401, "Invalid username or password.")
        if name != "org":
            raise Refused(403, "You don't have the rights to create this under this namespace")

    def create(self) -> None:
        asked = json.loads(self.body)
        self._check_owner(asked["organization"])
        name = f"{asked['organization']}/{asked['name']}"
        kind, sdk = asked.get("type", "model"), asked.get("sdk")
        if name in self.hub.repos:
            raise Refused(409, f"You already created this {kind} repo")
        if (kind == "space") != (sdk is not None):
            raise Refused(400, "a Space, and nothing else, has an sdk")
        is_private = asked.get("visibility", "public") == "private"
        self.hub.repos[name] = Repo(private=is_private, kind=kind, sdk=sdk)
        prefix = "" if kind == "model" else f"{kind}s/"
        self._json({"url": f"{self.hub.url}/{prefix}{name}", "name": name})

    def settings(self, name: str) -> None:
        repo = self._repo(name, write=True)
        repo.private = json.loads(self.body)["visibility"] == "private"
        self._json({"private": repo.private})

    # Collections

    def collect(self) -> None:
        asked = json.loads(self.body)
        owner, title = asked["namespace"], asked["title"]
        self._check_owner(owner)
        number = hashlib.sha1(title.encode()).hexdigest()[:24]
        slug = f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower())}-{number}"
        if slug in self.hub.collections:
            answer = {"error": "This collection already exists", "slug": slug}
            self._send(409, json.dumps(answer).encode())
            return
        self.hub.collections[slug] = Collection(title, asked["private"])
        self.collection(slug)

    def collection(self, slug: str) -> None:
        found = self.hub.collections[slug]
        items = [
            {"_id": str(at), "id": name, "type": kind, "position": at}
            for at, (name, kind) in enumerate(found.items)
        ]
        owner = {"name": slug.partition("/")[0], "type": "org"}
        facts = {"slug": slug, "title": found.title, "owner": owner, "items": items}
        more = {"position": 0, "theme": "green", "upvotes": 0, "private": found.private}
        self._json({**facts, **more, "lastUpdated": "2026-01-01T00:00:00.000Z"})

    def collect_item(self, slug: str) -> None:
        self._check_owner(slug.partition("/")[0])
        asked = json.loads(self.body)["item"]
        repo = self.hub.repos.get(asked["id"])
        if repo is None or repo.kind != asked["type"]:
            raise Refused(404, "This item does not exist")
        items = self.hub.collections[slug].items
        if (asked["id"], asked["type"]) in items:
            raise Refused(409, "This item is already in the collection")
        items.append((asked["id"], asked["type"]))
        self.collection(slug)

    # Reading

    def info(self, name: str, revision: str | None = None) -> None:
        repo = self._repo(name)
        commit, tree = repo.find(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(tree)]
        facts = {"_id": "1", "id": name, "author": "org", "sha": commit, "private": repo.private}
        more = {"disabled": False, "gated": False, "downloads": 0, "likes": 0, "tags": []}
        self._json({**facts, **more, "siblings": siblings})

    def refs(self, name: str) -> None:
        repo = self._repo(name)
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
        tags = [
            {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": at}
            for tag, at in repo.tags.items()
        ]
        self._json({"branches": [main], "tags": tags, "converts": []})

    def tree(self, name: str, revision: str, under: str | None = None) -> None:
        _, tree = self._repo(name).find(revision)
        prefix = f"{under}/" if under else ""
        inside = {path: file for path, file in tree.items() if path.startswith(prefix)}
        if under and not inside:
            raise Refused(404, "Entry not found", "EntryNotFound")
        deep = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries = [_entry(tree, path) for path in sorted(_folders(inside, prefix) | set(inside))]
        self._json([e for e in entries if deep or "/" not in e["path"].removeprefix(prefix)])

    def paths_info(self, name: str, revision: str) -> None:
        _, tree = self._repo(name).find(revision)
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        there = _folders(tree, "") | set(tree)
        self._json([_entry(tree, path) for path in paths if path in there])

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit, tree = self._repo(name).find(revision)
        if path not in tree:
            raise Refused(404, "Entry not found", "EntryNotFound")
        file = tree[path]
        etag = f'"{file.sha256 if file.is_lfs else file.blob}"'
        headers = {"X-Repo-Commit": commit, "ETag": etag, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, file.content, **headers)
            return
        first, last = int(wanted[1]), int(wanted[2] or len(file.content) - 1)
        part = file.content[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(file.content)}"
        self._send(206, part, Content_Range=span, **headers)

    # Writing

    def validate(self) -> None:
        text = json.loads(self.body)["content"]
        try:
            if text.startswith("---\n"):
                yaml.safe_load(text.split("---\n")[1])
        except yaml.YAMLError as error:
            self._send(400, json.dumps({"errors": [{"message": str(error)}]}).encode())
            return
        self._json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        _, tree = self._repo(name, write=True).find(revision)
        files = []
        for asked in json.loads(self.body)["files"]:
            is_lfs = asked["path"].endswith(_LARGE) or asked["size"] > 10 * 2**20
            there = tree.get(asked["path"])
            oid = None if there is None else there.sha256 if there.is_lfs else there.blob
            mode = "lfs" if is_lfs else "regular"
            facts = {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False}
            files.append(facts | ({"oid": oid} if oid else {}))
        self._json({"files": files})

    def batch(self, name: str) -> None:
        self._repo(name, write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            facts = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.objects:
                upload = f"{self.hub.url}/storage/{asked['oid']}?{SIGNATURE}"
                verify = f"{self.hub.url}{self.route.removesuffix('objects/batch')}verify"
                facts["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
            objects.append(facts)
        self._json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        if SIGNATURE not in self.path:
            raise Refused(403, "SignatureDoesNotMatch")
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "content differs from its oid")
        self.hub.objects[oid] = self.body
        self._send(200, b"")

    def verify(self, name: str) -> None:
        self._repo(name, write=True)
        asked = json.loads(self.body)
        if len(self.hub.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, "not stored")
        self._json({})

    def commit(self, name: str, revision: str) -> None:
        repo = self._repo(name, write=True)
        tree = dict(repo.files)
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", repo.head) != repo.head:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            if key == "file":
                tree[value["path"]] = File(base64.b64decode(value["content"]), is_lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refused(
                        400, f"LFS pointer pointed to a file that does not exist: {value}"
                    )
                tree[value["path"]] = File(self.hub.objects[value["oid"]], is_lfs=True)
            elif key == "deletedFile":
                del tree[value["path"]]
        oid = repo.commit(tree)
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        self._json({"commitOid": oid, "commitUrl": f"{self.hub.url}/{prefix}{name}/commit/{oid}"})

    def tag(self, name: str, revision: str) -> None:
        repo = self._repo(name, write=True)
        commit, _ = repo.find(revision)
        tag = json.loads(self.body)["tag"]
        if tag in repo.tags:
            raise Refused(409, "Tag already exists")
        repo.tags[tag] = commit
        self._json({})

    def untag(self, name: str, tag: str) -> None:
        repo = self._repo(name, write=True)
        if repo.tags.pop(tag, None) is None:
            raise Refused(404, "no such tag", "RevisionNotFound")
        self._json({})


def _folders(tree: Tree, prefix: str) -> set[str]:
    """Every folder below `prefix` that holds a file."""
    found = set[str]()
    for path in tree:
        parts = path.removeprefix(prefix).split("/")[:-1]
        found |= {prefix + "/".join(parts[: n + 1]) for n in range(len(parts))}
    return found


def _entry(tree: Tree, path: str) -> dict[str, Any]:
    if path in tree:
        return tree[path].facts(path)
    oid = hashlib.sha1(path.encode()).hexdigest()
    return {"type": "directory", "path": path, "oid": oid, "size": 0}


_NAME = r"([\w.-]+/[\w.-]+)"
_API = f"/api/(?:dataset|model|space)s/{_NAME}"
_PAGE = f"(?:/(?:dataset|space)s)?/{_NAME}"
_LARGE = (".parquet", ".png", ".safetensors")
_ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", "/api/collections", _Handler.collect),
    ("GET", f"/api/collections/{_NAME}", _Handler.collection),
    ("POST", f"/api/collections/{_NAME}/items", _Handler.collect_item),
    ("GET", _API, _Handler.info),
    ("GET", f"{_API}/revision/([^/]+)", _Handler.info),
    ("GET", f"{_API}/refs", _Handler.refs),
    ("GET", f"{_API}/tree/([^/]+)", _Handler.tree),
    ("GET", f"{_API}/tree/([^/]+)/(.+)", _Handler.tree),
    ("POST", f"{_API}/paths-info/([^/]+)", _Handler.paths_info),
    ("POST", f"{_API}/preupload/([^/]+)", _Handler.preupload),
    ("POST", f"{_API}/commit/([^/]+)", _Handler.commit),
    ("POST", f"{_API}/tag/([^/]+)", _Handler.tag),
    ("DELETE", f"{_API}/tag/([^/]+)", _Handler.untag),
    ("PUT", f"{_API}/settings", _Handler.settings),
    ("POST", f"{_PAGE}\\.git/info/lfs/objects/batch", _Handler.batch),
    ("POST", f"{_PAGE}\\.git/info/lfs/verify", _Handler.verify),
    ("PUT", r"/storage/([0-9a-f]{64})", _Handler.store),
    ("GET HEAD", f"{_PAGE}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
