"""The SOAP service: a client made from the WSDL, and what is refused before it is parsed."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT, USER, free_ports, run_program
from model_import_export.graph_mode import tf

import numpy as np
import pytest

JAR = "serving/soap_service/target/soap_service.jar"
MOST_BYTES = 8 << 20
DTD = "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checked graph, y = 1.5x - 3, under the contract's names."""
    folder = tmp_path_factory.mktemp("soap")
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], "inputs/x_sample")
        tf.add(1.5 * x, -3.0, name="linear_regression/add")
    (folder / "frozen_graphs").mkdir()
    (folder / "frozen_graphs" / "frozen_linear_regression.pb").write_bytes(graph.as_graph_def().SerializeToString())
    checked = run_program("model_check.py", "frozen_graphs/frozen_linear_regression.pb", folder=folder)
    assert (checked.status, checked.err) == (0, "")
    return folder


@pytest.fixture(scope="module")
def soap(folder: Path) -> Iterator[str]:
    """The SOAP service's address."""
    (port,) = free_ports()
    command = ["java", "-jar", str(ROOT / JAR), "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}/LinearRegression?wsdl\n".encode()
        try:
            yield f"http://127.0.0.1:{port}/LinearRegression"
        finally:
            process.terminate()
        assert process.wait(30) == 143
        lines = process.stderr.read().decode().splitlines()
        said = [line for line in lines if not line.startswith("[Fatal Error] :")]  # from the JDK's parser
        assert said == ["soap_service: interrupted"]


def envelope(body: str, doctype: str = "", declaration: str = '<?xml version="1.0"?>') -> str:
    """A SOAP request to predict."""
    return (
        f'{declaration}{doctype}<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f'<n:predict xmlns:n="urn:modelimportexport">{body}</n:predict></s:Body></s:Envelope>'
    )


def post(soap: str, data: bytes, kind: str = "text/xml; charset=utf-8") -> tuple[int, str]:
    """Posts a request. Returns the status and the reply's text."""
    try:
        request = urllib.request.Request(soap, data, {"Content-Type": kind, "SOAPAction": '""'})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, _text(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, _text(error.read())


def _text(data: bytes) -> str:
    """Decodes an answer, which has the encoding of its request."""
    return data.decode("utf-16" if b"\0" in data[:4] or data[:2] == b"\xfe\xff" else "utf-8")


def test_with_a_client_made_from_the_wsdl(soap: str) -> None:
    import zeep

    service = zeep.Client(f"{soap}?wsdl").service
    assert service.predict([0, 1, -1, 2]) == [-3.0, -1.5, -4.5, 0.0]
    xs = np.arange(10_000) / 7
    assert service.predict(xs.tolist()) == (1.5 * xs - 3.0).tolist()
    for wrong, said in (
        ([], "not 1 to 100000 numbers: 0 in x"),
        ([0.0] * 100_001, "not 1 to 100000 numbers: 100001 in"),
    ):
        with pytest.raises(zeep.exceptions.Fault, match=said):
            service.predict(wrong)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("<x>abc</x>", 500, "'abc' is not a valid value for 'double'"),
        ("<z>1</z>", 500, "Invalid content was found starting with element 'z'"),
        ("<x>1</y>", 400, "not XML: "),
        ("<x>1</x>" + " " * MOST_BYTES, 413, f"too large: the body (at most {MOST_BYTES} bytes)"),
    ],
)
def test_what_is_wrong_is_said(soap: str, body: str, status: int, said: str) -> None:
    got, text = post(soap, envelope(body).encode())
    assert (got, said in text) == (status, True), text
    assert "\tat " not in text
    assert post(soap, envelope("<x>2</x>").encode())[0] == 200


@pytest.mark.parametrize("named", ["in the header", "in the declaration", "nowhere"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037", "utf-7", "latin-1"]
)
@pytest.mark.parametrize("doctype", [DTD, "<!DOCTYPE a [<!ENTITY e '1'>]>"])
def test_a_dtd_is_refused_in_every_encoding(soap: str, doctype: str, encoding: str, named: str) -> None:
    """Wherever the encoding is named, or left to be detected."""
    name = {"utf-8-sig": "utf-8", "latin-1": "iso-8859-1", "cp037": "IBM037"}.get(encoding, encoding)
    name = name.replace("utf-16-le", "UTF-16LE").replace("utf-16-be", "UTF-16BE")
    declaration = (
        f'<?xml version="1.0" encoding="{name}"?>' if named == "in the declaration" else '<?xml version="1.0"?>'
    )
    kind = f"text/xml; charset={name}" if named == "in the header" else "text/xml"
    status, text = post(soap, envelope("<x>&e;</x>", doctype, declaration).encode(encoding), kind)
    assert status == 400, text
    assert "refused XML: it has a DTD" in text or "not XML: " in text
    assert "root:" not in text
    assert "\tat " not in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_other_encodings_are_read(soap: str, encoding: str) -> None:
    name = encoding.replace("utf-16-le", "UTF-16LE")
    status, text = post(soap, envelope("<x>4</x>").encode(encoding), f"text/xml; charset={name}")
    assert (status, "<y>3.0</y>" in text) == (200, True), text


def test_two_encodings_do_not_hide_a_dtd(soap: str) -> None:
    """One is named in the header and another in the document."""
    for header, declared, encoding in (
        ("utf-8", "UTF-16LE", "utf-16-le"),
        ("UTF-16LE", "utf-8", "utf-8"),
        ("utf-8", "IBM037", "cp037"),
        ("IBM037", "utf-8", "cp037"),
        ("iso-8859-1", "UTF-16BE", "utf-16-be"),
    ):
        declaration = f'<?xml version="1.0" encoding="{declared}"?>'
        data = envelope("<x>&e;</x>", DTD, declaration).encode(encoding)
        status, text = post(soap, data, f"text/xml; charset={header}")
        assert (status, "root:" in text) == (400, False), (header, declared, text)


@pytest.mark.slow
def test_unfinished_requests_time_out_and_block_nobody(soap: str) -> None:
    host, port = soap.split("/")[2].split(":")
    begun = f"POST /LinearRegression HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml\r\nContent-Length: 99\r\n\r\n<"
    slow = [socket.create_connection((host, int(port)), timeout=60) for _ in range(64)]
    for i, connection in enumerate(slow):
        connection.sendall(begun[: (10, 40, len(begun))[i % 3]].encode())
    started = time.monotonic()
    assert post(soap, envelope("<x>2</x>").encode())[0] == 200
    assert time.monotonic() - started < 5
    for connection in slow:
        assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 400")
        connection.close()
    assert post(soap, envelope("<x>2</x>").encode())[0] == 200
