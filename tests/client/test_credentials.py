"""Both clients against servers that speak TLS and want a token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from painterly.serving import Listener
from painterly.serving.authentication import Authentication
from painterly.serving.certificates import CertificateFiles, ReloadedCredentials
from painterly.serving.tokens import TokenFile
from painterly_client import Credentials, InvalidRequest, PreconditionFailed, ServerUnavailable
from painterly_client._credentials import endpoint_of
from tests.certificates import Authority
from tests.client.kit import Harmonize, MakeTwin, Preprocess, compose_answer, result, serving

TOKEN = "a-token-of-the-tests"


async def composed(request: Any, context: Any) -> Any:
    return compose_answer()


async def harmonized(request: Any, context: Any) -> Any:
    yield result()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def secured(folder: Path, authority: Authority, *, asks_back: bool = False) -> Listener:
    """TLS and one token; with ``asks_back`` callers need a certificate too."""
    files = CertificateFiles(
        certificate=folder / "server.pem", key=folder / "server.key", client_ca=folder / "ca.pem" if asks_back else None
    )
    authority.issue("painterly.test").write(files.certificate, files.key)
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "tokens").write_text(f"tester {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    authentication = Authentication(tokens=TokenFile(folder / "tokens"), certificates=asks_back)
    return Listener(grace_s=0.1, tls=ReloadedCredentials(files), authentication=authentication)


@pytest.fixture
def where(tmp_path: Path, authority: Authority) -> Iterator[str]:
    with serving(
        Preprocess(Compose=composed), Harmonize(harmonized), listener=secured(tmp_path, authority)
    ) as endpoint:
        yield endpoint


def trusting(authority: Authority, **more: Any) -> Credentials:
    return Credentials(ca_certificates=authority.certificate, token=TOKEN, **more)


@pytest.mark.parametrize("scheme", ["", "https://"])
def test_calls_streams_and_health_go_through_tls_with_a_token(
    make_twin: MakeTwin, where: str, authority: Authority, scheme: str
) -> None:
    endpoint = scheme + where
    client = make_twin(
        preprocess_endpoint=endpoint, harmonize_endpoint=endpoint, credentials=trusting(authority), timeout_s=10
    )
    assert client.compose(b"e", b"p").composite == b"composite"
    assert [event.image for event in client.harmonize(b"c", b"p", b"m")] == [b"picture"]
    assert client.check_health("preprocess") == "SERVING"


def test_a_missing_and_a_wrong_token_are_told_without_showing_it(
    make_twin: MakeTwin, where: str, authority: Authority
) -> None:
    for token, reason in ((None, "TOKEN_MISSING"), ("wrong-token", "TOKEN_INVALID")):
        credentials = replace(trusting(authority), token=token)
        client = make_twin(preprocess_endpoint=where, credentials=credentials, timeout_s=10)
        with pytest.raises(PreconditionFailed) as caught:
            client.compose(b"e", b"p")
        assert caught.value.reason == reason
        assert "wrong-token" not in f"{caught.value} {caught.value.metadata}"
        assert client.check_health("preprocess") == "SERVING"


def test_a_server_that_is_not_trusted_cannot_be_reached(make_twin: MakeTwin, where: str) -> None:
    stranger = Credentials(ca_certificates=Authority("stranger").certificate, token=TOKEN)
    client = make_twin(preprocess_endpoint=where, credentials=stranger, timeout_s=10)
    with pytest.raises(ServerUnavailable, match="if the server speaks TLS"):
        client.compose(b"e", b"p")


def test_the_name_in_the_certificate_may_be_another(make_twin: MakeTwin, where: str, authority: Authority) -> None:
    for name, is_right in (("painterly.test", True), ("other.test", False)):
        client = make_twin(preprocess_endpoint=where, credentials=trusting(authority, server_name=name), timeout_s=10)
        if is_right:
            assert client.compose(b"e", b"p").composite == b"composite"
        else:
            with pytest.raises(ServerUnavailable):
                client.compose(b"e", b"p")


def test_a_client_shows_its_certificate(make_twin: MakeTwin, tmp_path: Path, authority: Authority) -> None:
    listener = secured(tmp_path, authority, asks_back=True)
    guest = authority.issue("guest")
    with serving(Preprocess(Compose=composed), listener=listener) as where:
        own = trusting(authority, certificate=guest.certificate, key=guest.key)
        known = make_twin(preprocess_endpoint=where, credentials=own, timeout_s=10)
        assert known.compose(b"e", b"p").composite == b"composite"
        unknown = make_twin(preprocess_endpoint=where, credentials=trusting(authority), timeout_s=10)
        with pytest.raises(ServerUnavailable):
            unknown.compose(b"e", b"p")


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"certificate": b"c"}, "credentials.key"),
        ({"key": b"k"}, "credentials.certificate"),
        ({"token": "two words"}, "credentials.token"),
        ({"token": "line\nbreak"}, "credentials.token"),
        ({"token": ""}, "credentials.token"),
    ],
)
def test_credentials_that_do_not_fit_are_refused(parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Credentials(**parts)
    assert caught.value.field == field
    assert "two words" not in str(caught.value)


def test_what_is_secret_is_not_in_a_representation() -> None:
    shown = repr(Credentials(certificate=b"c", key=b"the-key", token="the-token"))
    assert "the-key" not in shown
    assert "the-token" not in shown


@pytest.mark.parametrize(
    ("text", "with_ca", "address", "uses_tls"),
    [
        ("a:1", False, "a:1", False),
        ("a:1", True, "a:1", True),
        ("http://a:1", False, "a:1", False),
        ("https://a:1", False, "a:1", True),
        ("https://[::1]:1/", True, "[::1]:1", True),
    ],
)
def test_an_endpoint_says_whether_it_speaks_tls(text: str, with_ca: bool, address: str, uses_tls: bool) -> None:
    endpoint = endpoint_of("harmonize_endpoint", text, Credentials(ca_certificates=b"x" if with_ca else None))
    assert (endpoint.text, endpoint.address, endpoint.uses_tls) == (text, address, uses_tls)


def test_certificates_for_an_endpoint_without_tls_are_a_conflict() -> None:
    with pytest.raises(InvalidRequest, match="speaks no TLS") as caught:
        endpoint_of("harmonize_endpoint", "http://a:1", Credentials(server_name="a"))
    assert caught.value.metadata["conflicts_with"] == "credentials"
