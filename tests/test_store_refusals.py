"""Servers that are no S3, or another one than was meant, and what opens a store: certificates, regions, identities."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faulty_proxy import FaultyProxy, faulty
from free_port import free_port

from comface.errors import ConfigurationError, TryAgain
from comface.store import open_store
from comface.store.s3 import S3Store, access_from
from comface.store.s3_answers import no_access
from comface.store.s3_http import Patience

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAHUSHHUSH", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_REGION": "us-east-1"}
SOON = Patience(within_s=0.4, first_s=0.2, silence_s=0.3)


def refusal(environment: dict[str, str], act: Callable[[S3Store], object] = lambda store: store.read("k")) -> str:
    """The sentence with which a store refuses for good."""
    store = S3Store(replace(access_from(environment), patience=SOON), "comface", "a")
    with pytest.raises(ConfigurationError) as error:
        act(store)
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "hush" not in text.lower()
    return text


ACTIONS: dict[str, Callable[[S3Store], object]] = {
    "read": lambda store: store.read("k"),
    "range": lambda store: store.read_range("k", 3, 4),
    "write": lambda store: store.write("k", b"x"),
    "create": lambda store: store.create("k", b"x"),
    "exists": lambda store: store.exists("k"),
    "keys": lambda store: list(store.keys()),
    "delete": lambda store: store.delete("k"),
    "download": lambda store: store.download("k", Path(os.devnull + "-not-made")),
    "versioning": lambda store: store.versioning(),
}


# Answers of other servers


class _Canned(http.server.BaseHTTPRequestHandler):
    """One answer to whatever is asked."""

    protocol_version = "HTTP/1.1"
    status, body, fields = 200, b"", {"Content-Type": "text/plain"}

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.fields}.items():
            self.send_header(name, value.replace("{me}", f"http://{self.headers['Host']}"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(status: int, body: bytes = b"", **fields: str) -> Iterator[dict[str, str]]:
    """The environment of a client of a server that always gives this answer."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    handler = type("Handler", (_Canned,), {"status": status, "body": body, "fields": named})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        server.shutdown()


PAGE = b"<!doctype html><html><head><title>Console</title><body><p>Sign in</body></html>"


@pytest.mark.parametrize("action", ACTIONS)
def test_a_console_that_answers_everything_with_a_page_is_no_s3(action: str) -> None:
    with answering(200, PAGE, Content_Type="text/html; charset=utf-8") as environment:
        text = refusal(environment, ACTIONS[action])
    assert f"{environment['AWS_ENDPOINT_URL']} is not an S3 API (it answers 200 with a web page)" in text
    assert "MinIO's console listens on port 9001, its API on port 9000" in text


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(404, PAGE, "text/html"), (403, PAGE, "text/html"), (405, b"no", "text/plain"), (404, b"{}", "application/json")],
)  # fmt: skip
def test_other_web_servers_are_no_s3_either(status: int, body: bytes, kind: str) -> None:
    with answering(status, body, Content_Type=kind) as environment:
        for action in ("read", "write", "keys"):
            assert f"is not an S3 API (it answers {status} with" in refusal(environment, ACTIONS[action])


def test_a_page_of_a_gateway_that_is_busy_is_waited_for() -> None:
    with answering(502, PAGE, Content_Type="text/html") as environment:
        store = S3Store(replace(access_from(environment), patience=SOON), "comface", "a")
        with pytest.raises(TryAgain, match="answers 502"):
            store.read("k")


WRONG_REGION = (
    b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region "
    b"'us-east-1' is wrong; expecting 'eu-west-1'</Message>%s</Error>"
)
MOVED = (
    b"<Error><Code>PermanentRedirect</Code><Endpoint>comface.s3.eu-west-1.amazonaws.com</Endpoint>"
    b"<Bucket>comface</Bucket></Error>"
)


@pytest.mark.parametrize(
    ("status", "body", "fields"),
    [
        (400, WRONG_REGION % b"<Region>eu-west-1</Region>", {}),
        (400, WRONG_REGION % b"", {}),
        (301, MOVED, {"x_amz_bucket_region": "eu-west-1"}),
        (307, MOVED, {"x_amz_bucket_region": "eu-west-1", "Location": "https://elsewhere/"}),
    ],
    ids=["field", "message", "header", "temporary"],
)
def test_a_bucket_in_another_region_is_said_with_the_region(status: int, body: bytes, fields: dict[str, str]) -> None:
    with answering(status, body, Content_Type="application/xml", **fields) as environment:
        for action in ("read", "write", "keys", *(["exists"] if status != 400 else [])):
            text = refusal(environment, ACTIONS[action])
            assert "The bucket is in the region 'eu-west-1', not in 'us-east-1'; set AWS_REGION=eu-west-1" in text


def test_a_bare_400_to_a_head_request_is_explained_by_asking_for_the_list() -> None:
    with answering(400, WRONG_REGION % b"<Region>eu-west-1</Region>", Content_Type="application/xml") as environment:
        assert "'eu-west-1'" in refusal(environment, ACTIONS["exists"])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_but_named_without_what_could_be_a_secret(status: int) -> None:
    location = "https://user:hush@minio.example.com:9443/comface/a/k?X-Amz-Signature=hush"
    with answering(status, b"", Location=location) as environment:
        for action in ACTIONS.values():
            text = refusal(environment, action)
            assert "redirects to https://minio.example.com:9443; set AWS_ENDPOINT_URL to that address" in text


def test_a_redirect_to_the_endpoint_of_aws_is_named_from_the_answer() -> None:
    with answering(301, MOVED, Content_Type="application/xml") as environment:
        assert "redirects to http://comface.s3.eu-west-1.amazonaws.com" in refusal(environment)


def test_a_redirect_to_a_sign_in_page_of_the_same_server_is_no_s3() -> None:
    with answering(302, b"", Location="{me}/login") as environment:
        assert "is not an S3 API" in refusal(environment)


@pytest.mark.parametrize("name", ["Not A Name", "ab", "a" * 64, "10.0.0.1", "a..b", "-a", "é23"])
def test_a_bucket_name_that_cannot_be_one_is_said_with_the_rule_before_anything_is_sent(name: str) -> None:
    with pytest.raises(ConfigurationError, match="3 to 63 lowercase letters, digits, dots and hyphens") as error:
        open_store(f"s3://{name}/a", {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert f"'{name}'" in str(error.value)


def test_a_bucket_name_that_only_the_server_refuses_is_said_with_the_rule_too() -> None:
    body = b"<Error><Code>InvalidBucketName</Code><Message>The specified bucket is not valid.</Message></Error>"
    with answering(400, body, Content_Type="application/xml") as environment:
        for action in ("read", "write", "exists"):
            assert "The bucket name 'comface' is not valid (3 to 63" in refusal(environment, ACTIONS[action])


REASON = "<Error><Code>%s</Code><Message>m</Message></Error>"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("RequestTimeTooSkewed", "differ too much (RequestTimeTooSkewed); set this machine's clock."),
        ("ExpiredToken", "has expired (ExpiredToken); set a new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SES"),
        (
            "AccessDenied",
            "refused the access key (AccessDenied); check AWS_ACCESS_KEY_ID and the bucket's policy, which",
        ),
        ("SignatureDoesNotMatch", "(SignatureDoesNotMatch); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_S"),
    ],
)
def test_why_the_keys_open_nothing_is_said_by_the_cause_whatever_is_asked(code: str, told: str) -> None:
    """An answer to HEAD has no body that says why: then the list is asked."""
    with answering(403, (REASON % code).encode(), Content_Type="application/xml") as environment:
        for action in ACTIONS.values():
            assert told in refusal(environment, action)


def test_expired_keys_of_an_identity_are_to_be_tried_again() -> None:
    assert isinstance(no_access("s3://comface", "ExpiredToken", has_identity=True), TryAgain)
    assert isinstance(no_access("s3://comface", "ExpiredToken", has_identity=False), ConfigurationError)


def test_a_proxy_that_takes_no_large_request_says_which_setting_is_its() -> None:
    with answering(413, PAGE, Content_Type="text/html") as environment:
        text = refusal(environment, ACTIONS["write"])
    assert "refuses requests of this size (413); set its limit to 16 MB or more (nginx: client_max_body_size)" in text


@pytest.mark.parametrize(
    ("action", "status", "body", "told"),
    [
        ("read", 520, PAGE, "answers 520"),
        ("read", 204, b"", "answers 204"),
        ("download", 204, b"", "answers 204"),
        ("range", 200, bytes(300), "does not send the requested range of the object"),
        ("range", 206, bytes(300), "sends more bytes than the requested range"),
        ("read", 418, b"", r"invalid response for '.*' \(status 418\)"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_never_content(
    action: str, status: int, body: bytes, told: str
) -> None:
    kind = "text/html" if body == PAGE else "binary/octet-stream"
    with answering(status, body, Content_Type=kind) as environment:
        store = S3Store(replace(access_from(environment), patience=SOON), "comface", "a")
        with pytest.raises(TryAgain, match=told):
            ACTIONS[action](store)


@pytest.mark.parametrize("key", ["../k", "b/k", ""])
def test_a_listing_of_other_keys_than_were_asked_for_is_not_believed(key: str) -> None:
    item = f"<Contents><Key>{key}</Key><ETag>e</ETag><Size>1</Size></Contents>"
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{item}</ListBucketResult>".encode()
    with answering(200, body, Content_Type="application/xml") as environment:
        store = S3Store(replace(access_from(environment), patience=SOON), "comface", "a")
        with pytest.raises(TryAgain, match="invalid response"):
            list(store.keys())


@pytest.mark.parametrize("change", [{"AWS_REGION": "not a region"}, {"AWS_ENDPOINT_URL": "http://a_b..c"}])
def test_what_the_client_cannot_use_as_region_or_endpoint_is_named(change: dict[str, str]) -> None:
    text = refusal({**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", **change})
    assert next(iter(change.values())) in text
    assert next(iter(change)) in text


@pytest.mark.parametrize("body", [b"\x00\xff not XML", b"<a><b></a>", b"<ListBucketResult/>", b""])
def test_a_listing_that_cannot_be_read_is_never_a_traceback(body: bytes) -> None:
    with answering(200, body, Content_Type="application/xml") as environment:
        store = S3Store(replace(access_from(environment), patience=SOON), "comface", "a")
        with pytest.raises(TryAgain, match="invalid response"):
            list(store.keys())


# Certificates


def certificate(folder: Path, name: str, days: int = 1) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    host = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([host]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return paths


@contextlib.contextmanager
def behind_tls(environment: dict[str, str], chain: tuple[Path, Path]) -> Iterator[dict[str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*chain)
    with FaultyProxy(environment["AWS_ENDPOINT_URL"], 0.0, ()) as proxy:
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        yield {**environment, "AWS_ENDPOINT_URL": f"https://127.0.0.1:{proxy.server_port}"}
        proxy.shutdown()


def test_an_untrusted_certificate_says_what_to_set_and_is_trusted_once_that_is_set(
    s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = certificate(tmp_path, "127.0.0.1")
    with behind_tls(s3_environment, chain) as environment:
        for action in ACTIONS.values():
            text = refusal(environment, action)
            assert (
                f"The certificate of {environment['AWS_ENDPOINT_URL']} is not trusted (self-signed certificate)" in text
            )
            assert "set SSL_CERT_FILE or AWS_CA_BUNDLE" in text
        bundle = {**environment, "AWS_CA_BUNDLE": str(chain[0])}
        open_store("s3://comface/tls", bundle).write("k", b"by bundle")
        monkeypatch.setenv("SSL_CERT_FILE", str(chain[0]))
        assert open_store("s3://comface/tls", environment).read("k") == b"by bundle"


@pytest.mark.parametrize(
    ("name", "days", "words"),
    [("minio.example.com", 1, "use a host name in AWS_ENDPOINT_URL that the certificate names"),
     ("127.0.0.1", -1, "renew it, or set this machine's clock")],
)  # fmt: skip
def test_a_certificate_of_another_name_or_time_says_so(
    s3_environment: dict[str, str], tmp_path: Path, name: str, days: int, words: str
) -> None:
    chain = certificate(tmp_path, name, days)
    with behind_tls({**s3_environment, "AWS_CA_BUNDLE": str(chain[0])}, chain) as environment:
        assert words in refusal(environment)


def test_tls_where_there_is_none_and_none_where_there_is_says_which_to_write(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    plain = s3_environment["AWS_ENDPOINT_URL"]
    tls = plain.replace("http:", "https:")
    assert refusal({**s3_environment, "AWS_ENDPOINT_URL": tls}) == (
        f"{tls} does not speak TLS; set AWS_ENDPOINT_URL to {plain}, or to its TLS port."
    )
    sentence = b"Client sent an HTTP request to an HTTPS server.\n"  # as Go's servers say it, MinIO among them
    with answering(400, sentence, Content_Type="text/plain") as environment:
        assert "speaks TLS only; set AWS_ENDPOINT_URL to https://127.0.0.1" in refusal(environment)


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_bundle_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    text = refusal({**KEYS, "AWS_ENDPOINT_URL": "https://127.0.0.1:9", "AWS_CA_BUNDLE": str(path)})
    assert f"AWS_CA_BUNDLE is '{path}', which is not a readable PEM file of certificates" in text


# Identities of a workload


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """S3 and STS in one server, which asks nobody for a signature."""
    port = free_port()
    log = (tmp_path_factory.mktemp("cloud") / "log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    try:
        environment = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        patience = Patience(first_s=30, longest_pause_s=0.3)
        S3Store(replace(access_from(environment), patience=patience), "comface", "").client.make_bucket("comface")
        yield environment["AWS_ENDPOINT_URL"]
    finally:
        server.terminate()
        server.wait(10)
        log.close()


ROLE = "arn:aws:iam::123456789012:role/comface"


def test_a_web_identity_opens_the_store_without_any_key(
    cloud: str, no_keys: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("eyJ0eXAi.hush.hush")
    no_keys.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    no_keys.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/comface")
    with faulty(cloud, 0.0) as proxy:
        no_keys.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = open_store(f"s3://comface/{uuid.uuid4().hex}")
        store.write("k", b"by identity")
        assert store.read("k") == b"by identity"
    first, *others = proxy.asked
    assert first[:2] == ("POST", "/")  # the token is in the body: logs keep addresses
    assert len(others) == 2  # the keys that came are kept while they last
    for _, path, headers in others:
        assert "Credential=ASIA" in headers["Authorization"]
        assert headers["X-Amz-Security-Token"]
        assert "hush" not in path + str(headers)


def test_keys_in_the_environment_come_before_an_identity(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token")
    open_store("s3://comface/keys-first").write("k", b"x")


def test_the_sts_of_aws_is_the_regions_unless_one_is_named() -> None:
    identity = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_REGION": "eu-central-1"}
    assert access_from(identity).sts == "https://sts.eu-central-1.amazonaws.com"
    assert access_from({**identity, "AWS_ENDPOINT_URL_STS": "https://sts.example"}).sts == "https://sts.example"
    assert access_from({**identity, "AWS_ENDPOINT_URL": "http://minio:9000"}).sts == "http://minio:9000"


def test_an_identity_that_is_refused_says_so_without_its_token(no_keys: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("eyJ0eXAi.hush.hush")
    no_keys.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    no_keys.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")
    denied = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
    with answering(403, denied, Content_Type="text/xml") as environment:
        no_keys.setenv("AWS_ENDPOINT_URL", environment["AWS_ENDPOINT_URL"])
        for action in ("read", "write", "keys"):
            text = refusal(dict(os.environ), ACTIONS[action])
            assert "The workload identity gave no credentials for the store (status 403); check AWS_WEB" in text


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "workload identity (AWS_WEB_IDENTITY_TOKEN_FILE) does not exist; check the path."),
        (
            lambda path: path.write_text("\n"),
            "workload identity (AWS_WEB_IDENTITY_TOKEN_FILE) is empty; check the volume that mounts it.",
        ),
        (os.mkfifo, "is not a regular file"),
        (os.mkdir, "is a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.write_bytes(bytes(1 << 20)), "more than the limit of 0.1 MB for such a file"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "its token file or the response cannot be read"),
    ],
    ids=["none", "empty", "FIFO", "folder", "device", "large", "no text"],
)
def test_a_token_file_that_is_none_is_said_at_once(
    no_keys: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], told: str
) -> None:
    make(tmp_path / "token")
    no_keys.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    no_keys.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")
    no_keys.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert told in refusal(dict(os.environ))


class _Keys(http.server.BaseHTTPRequestHandler):
    """The endpoint of a container's credentials, as EKS Pod Identity has it: keys that last a second."""

    environment: dict[str, str]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Authorization"])
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        body = json.dumps(
            {"AccessKeyId": self.environment["AWS_ACCESS_KEY_ID"], "Token": None,
             "SecretAccessKey": self.environment["AWS_SECRET_ACCESS_KEY"],
             "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_credentials_of_a_container_open_the_store_and_are_asked_for_again_before_they_expire(
    s3_server: dict[str, str], no_keys: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("pod-token")
    handler = type("Handler", (_Keys,), {"environment": s3_server, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        no_keys.setenv("AWS_ENDPOINT_URL", s3_server["AWS_ENDPOINT_URL"])
        no_keys.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/v1/credentials")
        no_keys.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        store = open_store(f"s3://comface/{uuid.uuid4().hex}")
        store.write("k", b"x")
        asked = len(handler.asked)
        assert store.read("k") == b"x"
        assert len(handler.asked) > asked
        assert set(handler.asked) == {"pod-token"}
        server.shutdown()


def test_no_sentence_repeats_what_an_error_of_the_client_holds(no_keys: pytest.MonkeyPatch) -> None:
    """Its messages can hold a whole URL, with the token of an identity in it."""
    no_keys.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token-hush")
    no_keys.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for act in ACTIONS.values():
        assert "workload identity" in refusal(dict(os.environ), act)
