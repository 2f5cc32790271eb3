"""HTTP behaviour: methods, compression, who may ask, and limits on the size and time of headers and bodies."""

import gzip
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import serving_models as models
from conftest import run_command
from running_server import Server, ask, raw, serving

import pytest

BODY = b'{"instances": [1.0]}'
GOOD = 200, {"predictions": [2.0]}
FLAGS = ("--model_name", "m", "--model_base_path", "m", "--max_seconds", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model m, y = x + 1."""
    folder = tmp_path_factory.mktemp("http")
    models.save(folder / "m" / "1", models.plus(1.0))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with its defaults, except for two seconds per request."""
    with serving(folder, *FLAGS) as server:
        yield server


def post(server: Server, body: bytes = BODY, **headers: str) -> tuple[int, Any]:
    """Posts a predict request with headers."""
    return ask(f"{server.rest}/m:predict", body, {name.replace("_", "-"): value for name, value in headers.items()})


def head(url: str, method: str, headers: Mapping[str, str] = {}) -> tuple[int, Any, bytes]:
    """The status, headers and body of a reply."""
    try:
        request = urllib.request.Request(url, headers=dict(headers), method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_gzip_both_ways(server: Server) -> None:
    assert post(server, gzip.compress(BODY), Content_Encoding="gzip") == GOOD
    assert post(server, BODY, Content_Encoding="identity") == GOOD
    many = json.dumps({"instances": [1.0] * 1000})
    curl = f"curl -s --compressed {server.rest}/m:predict -d '{many}'"
    plain = run_command(f"{curl} -H 'Accept-Encoding: identity'")
    shown = run_command(f"{curl} -D headers", server.folder)
    assert json.loads(shown.out) == json.loads(plain.out) == {"predictions": [2.0] * 1000}
    assert "content-encoding: gzip\r\n" in (server.folder / "headers").read_bytes().decode()
    size = int(run_command(f"{curl.replace('--compressed', '')} -H 'Accept-Encoding: gzip' | wc -c").out)
    assert size < len(plain.out) / 10


def test_gzip_is_limited_by_what_comes_out(server: Server) -> None:
    limit = 32 << 20
    for packed, status, said in (
        (gzip.compress(b" " * limit + BODY), 413, f"too large: the body (at most {limit} bytes)"),
        (gzip.compress(b" " * 10 * limit), 413, f"too large: the body (at most {limit} bytes)"),
        (gzip.compress(BODY)[:-9], 400, "not gzip: the body"),
        (gzip.compress(BODY) + b"x", 400, "not gzip: the body"),
        (BODY, 400, "not gzip: the body: Error -3 while decompressing data: incorrect header check"),
    ):
        assert post(server, packed, Content_Encoding="gzip") == (status, {"error": said})
    said = "not a coding of the body: br (gzip is)"
    assert post(server, BODY, Content_Encoding="br") == (415, {"error": said})
    assert post(server, gzip.compress(b" " * 1000 + BODY), Content_Encoding="gzip") == GOOD


def test_methods(server: Server) -> None:
    for path in ("/v1/models", "/v1/models/m", "/v1/models/m/metadata", "/", "/monitoring/prometheus/metrics"):
        status, headers, body = head(server.url + path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 10
    for path, method, allowed in (
        ("/m:predict", "GET", "POST"),
        ("/m", "POST", "GET, HEAD"),
        ("/m", "OPTIONS", "GET, HEAD"),
    ):
        status, headers, body = head(server.rest + path, method)
        assert (status, sorted(headers["allow"].split(", "))) == (405, sorted(allowed.split(", ")))
        assert json.loads(body)["error"].startswith(f"not a method of /v1/models{path}: {method}")


def test_a_name_that_is_not_this_servers_is_refused(server: Server) -> None:
    """As sent by a page that makes its own name resolve to 127.0.0.1."""
    for host in (f"127.0.0.1:{server.port}", "localhost", f"LOCALHOST:{server.port}", f"[::1]:{server.port}"):
        assert post(server, Host=host) == GOOD, host
    for host in (
        "example.com",
        f"example.com:{server.port}",
        "127.0.0.1.example.com",
        "localhost.",
        "[::1",
        "a@localhost@b",
    ):
        status, reply = post(server, Host=host)
        assert (status, reply["error"]) == (421, f"not this server: {host} (--allowed_host allows a name)")
        assert ask(f"{server.rest}/m", None, {"Host": host})[0] == 421


def test_the_page_of_another_site_is_refused(server: Server) -> None:
    """Browsers post `text/plain` without asking first, but send the page's origin; `curl` and programs do not."""
    for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
        assert post(server, Content_Type=kind) == GOOD
        assert post(server, Content_Type=kind, Origin=server.url) == GOOD  # the server's own page
        for origin in ("https://example.com", "null", f"http://127.0.0.1:{server.port + 1}"):
            status, reply = post(server, Content_Type=kind, Origin=origin)
            assert (status, reply["error"].partition(" (")[0]) == (403, f"not asked by a page of this server: {origin}")
    _, headers, _ = head(f"{server.rest}/m", "GET", {"Origin": "https://example.com"})
    assert "access-control-allow-origin" not in headers


def test_cors_only_where_it_is_named(folder: Path) -> None:
    friend, stranger = "https://friend.example", "https://example.com"
    with serving(folder, *FLAGS, "--cors_origin", friend, "--allowed_host", "models.example") as server:
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        status, headers, _ = head(f"{server.rest}/m:predict", "OPTIONS", asking | {"Origin": friend})
        assert (status, headers["access-control-allow-origin"]) == (200, friend)
        status, headers, _ = head(f"{server.rest}/m:predict", "OPTIONS", asking | {"Origin": stranger})
        assert (status, headers["access-control-allow-origin"]) == (400, None)
        assert post(server, Origin=friend) == GOOD
        assert post(server, Origin=stranger)[0] == 403
        assert post(server, Host="models.example", Origin="https://models.example") == GOOD
        assert post(server, Host="example.com")[0] == 421


def test_headers_are_limited(server: Server) -> None:
    too_large = b'{"error": "too large: the headers (at most 65536 bytes)"}'
    start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    for text in (
        start + b"a: " + b"b" * (1 << 24),  # an endless one
        start + b"".join(b"a%d: b\r\n" % i for i in range(1 << 20)),  # very many
        start + b"a: " + b"b" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * (1 << 20),
    ):
        answer = raw(server.port, text)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), answer[:100]
        assert answer == b"" or too_large in answer
    assert raw(server.port, start + b"a: " + b"b" * 70_000 + b"\r\n\r\n").endswith(too_large + b"\n")
    within = start + b"Connection: close\r\na: " + b"b" * 60_000 + b"\r\n\r\n"
    assert raw(server.port, within).startswith(b"HTTP/1.1 200 OK\r\n")
    chunked = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert b"200" not in raw(server.port, chunked + b"".join(b"a%d: b\r\n" % i for i in range(20_000)))[:20]
    assert raw(server.port, b"\x16\x03\x01 not HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_what_does_not_come_in_time_is_ended_and_blocks_nobody(server: Server) -> None:
    body = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{"
    starts = [b"", b"G", b"GET /v1/models HTTP/1.1\r\nHost:", body]
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    for i, connection in enumerate(slow):
        connection.sendall(starts[i % len(starts)])
    started = time.monotonic()
    # It waits for 25 bodies, of 64 requests that it takes at a time, so it still answers others.
    assert post(server) == GOOD
    assert time.monotonic() - started < 1.5
    for i, connection in enumerate(slow):
        answer = b""
        while part := connection.recv(1000):
            answer += part
            if b"the body did not come within 2 s" in answer:
                break
        assert b" 408 Request Timeout\r\n" in answer, (i, answer)
        connection.close()
    assert post(server) == GOOD
