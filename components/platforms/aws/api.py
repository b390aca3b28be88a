"""Reading calls to AWS with the user's own credentials: Signature Version 4 over plain HTTP requests.

It is not the AWS SDK for Python, which would be one more dependency for two dozen calls; tests check the signature
against examples that AWS publishes. Source: IAM user guide, Create a signed AWS API request; API references.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from xml.etree import ElementTree

import httpx

from components.platforms.aws.names import domain
from components.platforms.checkup import CannotAsk, NotSignedIn, Tools

_LOGIN = "sign in: aws sso login (or aws configure), and name the profile in AWS_PROFILE"
_DENIED = ("AccessDenied", "UnauthorizedOperation", "AuthorizationError", "Forbidden")
_CREDENTIALS = (
    *("ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "AuthFailure", "RequestExpired"),
    *("SignatureDoesNotMatch", "InvalidSignature", "MissingAuthenticationToken", "InvalidAccessKeyId"),
)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An access key; ``token`` is empty for one that does not expire."""

    key: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


class Refused(CannotAsk):
    """An error of a service; ``code`` is its name for it."""

    def __init__(self, service: str, action: str, code: str) -> None:
        super().__init__(f"{service}:{action} answers {code}")
        self.code = code


class NotAllowed(CannotAsk):
    """A call that the user may not make."""


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    keys: Credentials,
    scope: tuple[str, str],
    now: datetime,
) -> dict[str, str]:
    """Return ``headers`` with those of the signature; ``scope`` is region and service. Paths need no escaping here."""
    stamp, parts = now.strftime("%Y%m%dT%H%M%SZ"), urlsplit(url)
    signed = {name.lower(): value for name, value in headers.items()} | {"host": parts.netloc, "x-amz-date": stamp}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names, query = ";".join(sorted(signed)), sorted(parse_qsl(parts.query, keep_blank_values=True))
    lines = [method, parts.path or "/", urlencode(query, quote_via=quote, safe="-_.~")]
    lines += [
        *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
        "",
        names,
        hashlib.sha256(body).hexdigest(),
    ]
    credential = f"{stamp[:8]}/{'/'.join(scope)}/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in credential.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{credential}\n{digest}".encode(), "sha256").hex()
    signed.pop("host")  # httpx writes it
    value = f"AWS4-HMAC-SHA256 Credential={keys.key}/{credential}, SignedHeaders={names}, Signature={signature}"
    return {**signed, "authorization": value}


class Api:
    """The services of one region. ``services`` is the table of ``doctor.yaml``. All calls raise ``CannotAsk``."""

    def __init__(self, tools: Tools, region: str, services: Mapping[str, Any]) -> None:
        self.tools, self.region, self._services = tools, region, services
        self._lock = threading.Lock()
        self._login_result: Credentials | NotSignedIn | None = None

    def host(self, service: str) -> str:
        """Return a service's host; IAM's is the same for all regions."""
        name = self._services[service].get("host", service)
        everywhere = self._services[service].get("everywhere", False)
        return f"{name}.{domain(self.region)}" if everywhere else f"{name}.{self.region}.{domain(self.region)}"

    def query(self, service: str, action: str, **parameters: str) -> ElementTree.Element:
        """Return the XML of a service with the Query protocol, without namespaces."""
        fields = {"Action": action, "Version": self._services[service]["version"], **parameters}
        kind = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return _xml(self._post(service, action, kind, urlencode(fields).encode()).text, service)

    def call(self, service: str, action: str, **parameters: Any) -> Any:
        """Return the answer of a service with the JSON protocol."""
        target = f"{self._services[service]['target']}.{action}"
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        return self._post(service, action, headers, json.dumps(parameters).encode()).json()

    def rest(self, service: str, action: str, path: str) -> Any:
        """Return the answer of a service with the REST protocol."""
        url, headers = f"https://{self.host(service)}{path}", {"accept": "application/json"}
        answer = self.tools.get(url, self._signed("GET", url, headers, b"", service))
        _refuse(answer, service, action)
        return answer.json()

    def head(self, service: str, path: str) -> int:
        """Return the status of a HEAD, which has no text that could say more."""
        url, headers = f"https://{self.host(service)}{path}", {"x-amz-content-sha256": hashlib.sha256(b"").hexdigest()}
        return self.tools.get(url, self._signed("HEAD", url, headers, b"", service), method="HEAD").status_code

    def _post(self, service: str, action: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        url = f"https://{self.host(service)}/"
        answer = self.tools.post(action, url, self._signed("POST", url, headers, body, service), body)
        _refuse(answer, service, action)
        return answer

    def _signed(self, method: str, url: str, headers: Mapping[str, str], body: bytes, service: str) -> dict[str, str]:
        known = self._services[service]
        scope = ("us-east-1" if known.get("everywhere") else self.region, known.get("signedAs", service))
        return sign(method, url, headers, body, self.credentials(), scope, self.tools.now)

    def credentials(self) -> Credentials:
        """Return the user's credentials, asked for once. Raises ``NotSignedIn``."""
        with self._lock:
            if self._login_result is None:
                try:
                    self._login_result = _credentials(self.tools)
                except NotSignedIn as missing:
                    self._login_result = missing
        if isinstance(self._login_result, NotSignedIn):
            raise self._login_result
        return self._login_result


def _credentials(tools: Tools) -> Credentials:
    """Return those of the environment, or those that the user's own CLI hands out (profiles, SSO, roles)."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    key, secret, token = (tools.environ.get(name, "") for name in names)
    if not (key and secret):
        try:
            read = json.loads(tools.run(("aws", "configure", "export-credentials", "--format", "process")))
            key, secret, token = read["AccessKeyId"], read["SecretAccessKey"], read.get("SessionToken") or ""
        except CannotAsk as missing:
            raise NotSignedIn(f"no credentials of AWS: {missing.why}", _LOGIN) from None
        except (ValueError, KeyError, TypeError):
            raise NotSignedIn("the AWS CLI gives no credentials", f"update it to version 2, then {_LOGIN}") from None
    tools.secrets.update(each for each in (secret, token) if each)
    return Credentials(key=key, secret=secret, token=token)


def _refuse(answer: httpx.Response, service: str, action: str) -> None:
    if answer.status_code == 200:
        return
    code = _code(answer)
    if code.startswith(_CREDENTIALS):
        raise NotSignedIn(f"AWS refuses the credentials ({code})", f"look at the clock, then {_LOGIN}")
    if code.startswith(_DENIED) or answer.status_code == 403:
        raise NotAllowed(f"not allowed to call {service}:{action}", f"allow {service}:{action}, or look in the console")
    raise Refused(service, action, code)


def _code(answer: httpx.Response) -> str:
    code = answer.headers.get("x-amzn-errortype", "")
    if not code and answer.text.lstrip().startswith("{"):
        read = answer.json()
        code = str(read.get("__type") or read.get("code") or "")
    elif not code and answer.text.lstrip().startswith("<"):
        code = _xml(answer.text, "").findtext(".//Code") or ""
    return code.partition(":")[0].rpartition("#")[2] or str(answer.status_code)


def _xml(text: str, service: str) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 over TLS from AWS; expat bounds what entities may grow to
    except ElementTree.ParseError:
        raise CannotAsk(f"{service or 'the service'} answers without XML") from None
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    return root
