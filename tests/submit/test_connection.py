"""A KFP server that is behind TLS or a login, and secrets that must not be sent to it: one sentence each, code 64."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from certificates import server_context
from kfp_api_server import KfpServer, Moved

from comface.cli import main
from comface.config.credentials import carries_credentials
from comface.errors import ConfigurationError
from comface.plan.from_parameters import configure
from comface.plan.parameters import Parameters

AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST", *AUTHORITIES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with KfpServer() as running:
        yield running


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main([*arguments]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"comface: .*\.\n", output.err), output.err
    return output.err


# TLS


def test_a_certificate_is_trusted_by_the_file_that_is_named_and_by_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with KfpServer(tls=server_context(tmp_path)) as server:
        sentence = said(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint)
        assert f"The certificate of {server.endpoint} is not trusted: " in sentence
        assert "set SSL_CERT_FILE (or REQUESTS_CA_BUNDLE) to a PEM file with its authority" in sentence
        for name in AUTHORITIES:
            monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
            assert main(["submit", "--registry", "nodes", "--endpoint", server.endpoint]) == 0
            capsys.readouterr()
            for wrong in ("absent.pem", "text.pem"):
                (tmp_path / "text.pem").write_text("no certificate")
                monkeypatch.setenv(name, str(tmp_path / wrong))
                sentence = said(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint)
                assert re.search(
                    f"{name} is '.*{wrong}', which contains no readable certificates .*; name a PEM file", sentence
                )
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"host": "127.0.0.2"}, "is for another name: .* give --endpoint the name in the certificate"),
        ({"ends": timedelta(days=-1)}, "is not valid today: .* renew it on the server, and check this machine's clock"),
    ],
)
def test_a_certificate_that_does_not_fit_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: dict, expected: str
) -> None:
    with KfpServer(tls=server_context(tmp_path, **made)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert re.search(expected, said(capsys, 64, "schedule", "list", "--endpoint", server.endpoint))


def test_a_server_without_tls_is_said(server: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = said(
        capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint.replace("http:", "https:")
    )
    assert re.search("The TLS connection to https://.* failed: .*; check the port, or write http://", sentence)


# Logins


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_redirect_to_a_login_asks_for_a_token(
    server: KfpServer, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    def hook(method: str, path: str) -> None:
        raise Moved(status, "https://login.example.org/dex/auth?client_secret=word")

    server.hook = hook
    sentence = said(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint)
    assert f"is not the KFP API, or requires a login (it answered {status}, a redirect)" in sentence
    assert "set KFP_EXISTING_TOKEN to a token that it accepts" in sentence
    assert "word" not in sentence


# Secrets

SECRET = "s3cr3t-w0rd"
LEAKS = (
    f"s3://AKID:{SECRET}@bucket/x", f"s3://{SECRET}@bucket/x", f"https://user:{SECRET}@host/x",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Algorithm=AWS4&X-Amz-Signature={SECRET}",
    f"https://bucket.s3.amazonaws.com/x?AWSAccessKeyId=AKIDX&Signature={SECRET}",
    f"https://account.blob.core.windows.net/x?sv=2024&sig={SECRET}", f"s3%3A%2F%2FAKID%3A{SECRET}%40bucket/x",
)  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize(
    "way",
    [
        ("--param", "store={}"), ("--param", "weights={}"), ("--set", "data.fgnet.uri={}"), ("--param", "{}"),
        ("--set", "{}"), ("--param", 'data={{"fgnet": {{"layout": "fgnet", "uri": "{}"}}}}'), ("--param", "nodes={}"),
        ("--set", "transfer.tasks=[{}]"), ("--param", "overrides=data.fgnet.uri={}"),
    ],
)  # fmt: skip
def test_a_secret_in_any_parameter_is_refused_before_anything_is_sent_and_never_printed(
    server: KfpServer, capsys: pytest.CaptureFixture[str], leak: str, way: tuple[str, str]
) -> None:
    given = [way[0], way[1].format(leak)]
    for command in (["submit"], ["schedule", "create", "weekly", "--cron", "0 0 2 * * 1"]):
        sentence = said(capsys, 64, *command, "--endpoint", server.endpoint, *given)
        assert "contains credentials" in sentence
        assert SECRET not in sentence
    if way[0] == "--set":
        assert SECRET not in said(capsys, 64, "run", *given)
    assert server.requests == []


def test_the_first_step_refuses_a_secret_of_kfps_own_form() -> None:
    for values in ({"data.fgnet.uri": LEAKS[0]}, {"data": {"fgnet": {"uri": LEAKS[3]}}}):
        with pytest.raises(ConfigurationError, match="contains credentials") as caught:
            configure(Parameters("laptop", values))
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match="contains credentials"):
        configure(Parameters("laptop", {}, data={"fgnet": {"layout": "fgnet", "uri": LEAKS[0]}}))


@pytest.mark.parametrize(
    "given",
    [
        ("--set", f"AWS_SECRET_ACCESS_KEY={SECRET}"), ("--set", f"tasks.age.unit=AWS_SECRET_ACCESS_KEY={SECRET}"),
        ("--param", f"secret_key={SECRET}"), ("--param", f'overrides={{"a": {{"b": [{{"password": "{SECRET}"}}]}}}}'),
        ("--param", f'data={{"fgnet": {{"layout": "fgnet", "session_token": "{SECRET}"}}}}'),
        ("--set", f"tasks.age.unit='password: {SECRET}'"), ("--set", f"data.fgnet={{aws_secret_access_key: {SECRET}}}"),
    ],
)  # fmt: skip
def test_what_is_called_a_secret_is_one(
    server: KfpServer, capsys: pytest.CaptureFixture[str], given: tuple[str, str]
) -> None:
    sentence = said(capsys, 64, "submit", "--registry", "nodes", "--endpoint", server.endpoint, *given)
    assert "contains credentials" in sentence
    assert SECRET not in sentence
    assert server.requests == []


@pytest.mark.parametrize(
    "innocent",
    ["s3://bucket/people@home/x", "file:///a:b@c", "s3://bucket/x?versionId=3", "registry.example.org/x@sha256:0", ""],
)
def test_what_is_no_secret_passes(innocent: str) -> None:
    assert not carries_credentials(innocent)


@pytest.mark.parametrize(
    "address", [f"https://user:{SECRET}@host", f"http://{SECRET}@host:8888", f"user:{SECRET}@host"]
)
def test_a_password_in_the_endpoints_url_is_refused_and_never_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert SECRET not in said(capsys, 64, "submit", "--registry", "nodes", "--endpoint", address)
    monkeypatch.setenv("KFP_ENDPOINT", address)
    assert SECRET not in said(capsys, 64, "schedule", "list")
