"""Credentials that need something: each says what, and how, through the real command line. None is taken for
a network that is down or for a defect."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import json
import os
import pty
import re
import select
import shutil
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fake_ec2.process import FakeEc2
from hotdesk.core.errors import Kind, Missing, Refused
from hotdesk.core.model import Desk, Goal
from hotdesk.parallel import side_by_side
from hotdesk.providers.aws import session
from hotdesk.providers.aws.account import HOME, Account, lend, own
from hotdesk.providers.aws.errors import answers, refusal, unreachable
from hotdesk.providers.aws.settings import Settings
from hotdesk.state.store import Store
from hotdesk.system import install_line
from tests.aws_desk import quick

ROOT = Path(__file__).parents[1]
errors = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
pytest.importorskip("moto", reason="moto is not installed")

Ask = Callable[..., subprocess.CompletedProcess[str]]
UP = ("up", "blue", "--provider", "aws", "--type", "g4dn.xlarge", "--market", "on-demand", "--dry-run")
REGION = "us-west-2"
ROLE = "arn:aws:iam::123456789012:role/desk"
MFA = f"""\
[default]
region = {REGION}
role_arn = {ROLE}
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/alice
[profile base]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = x
"""


@pytest.fixture
def fake(server: FakeEc2) -> Iterator[FakeEc2]:
    with quick(server):
        yield server


@pytest.fixture
def ask(fake: FakeEc2, hotdesk: Ask, home: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The command, with nothing but ~/.aws to find credentials in."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", fake.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (home / ".aws").mkdir()
    return hotdesk


def configured(home: Path, text: str) -> None:
    (home / ".aws" / "config").write_text(text)


def said(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """The three lines, with that exit code and those words; neither a defect nor a network that is down."""
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()][-3:]
    assert [line.split()[0] for line in lines] == ["✗", "why:", "fix:"], done.stderr
    for word in words:
        assert word in "\n".join(lines), done.stderr
    for word in ("Traceback", "defect", "does not answer", "ping "):
        assert word not in done.stderr
    return lines[2].removeprefix("  fix: ")


# ---- the whole table ---------------------------------------------------------------------------------

ABOUT = re.compile(
    "Credential|Login|SSO|Token|MFA|Metadata|IMDS|ProfileNotFound|ConfigParse|ConfigNotFound"
    "|InvalidConfigError|InfiniteLoopConfig|MissingDependency"
)


def every() -> list[Exception]:
    """One of each of botocore's errors that speak of credentials."""
    found = []
    for name, kind in sorted(vars(errors).items()):
        if inspect.isclass(kind) and issubclass(kind, errors.BotoCoreError) and ABOUT.search(name):
            fields = [field for _, field, _, _ in string.Formatter().parse(kind.fmt) if field]
            found.append(kind(**dict.fromkeys(fields, "something")))
    return found


def test_there_are_as_many_as_there_were() -> None:
    assert len(every()) >= 20


@pytest.mark.parametrize("error", every(), ids=lambda error: type(error).__name__)
def test_every_error_about_credentials_has_words_and_a_way_on(error: Exception) -> None:
    no = refusal(error)
    assert no is not None
    assert no.kind is Kind.DENIED
    assert no.fix.split()[0] == "aws" or no.fix == install_line("aws")
    with pytest.raises(Refused), answers():
        raise error


# ---- aws login ---------------------------------------------------------------------------------------

SESSION = "arn:aws:iam::123456789012:user/alice"


@pytest.fixture
def sign_in() -> Iterator[Any]:
    """AWS's sign-in service, as botocore's model has it: `answer` is (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.asked.append(self.headers.get("DPoP", ""))  # type: ignore[attr-defined]
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = self.server.answer  # type: ignore[attr-defined]
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status >= 400:
                self.send_header("x-amzn-ErrorType", "AccessDeniedException")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], (500, {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def logged_in(home: Path, seconds: float) -> None:
    """What `aws login` leaves behind, with credentials that last so long."""
    crt = pytest.importorskip("awscrt.crypto", reason="awscrt is not installed")
    import base64

    key = base64.b64encode(crt.EC.new_generate(crt.ECType.P_256).export_key(crt.ECExportFormat.SEC1)).decode()
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    token = {
        "accessToken": {
            "accessKeyId": "ASIAFAKEFAKEFAKEFAKE",
            "secretAccessKey": "fake",
            "sessionToken": "fake",
            "accountId": "123456789012",
            "expiresAt": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "tokenType": "aws_sigv4",
        "refreshToken": "again",
        "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": f"-----BEGIN EC PRIVATE KEY-----\n{key}\n-----END EC PRIVATE KEY-----\n",
    }
    folder = home / ".aws" / "login" / "cache"
    folder.mkdir(parents=True)
    name = hashlib.sha256(SESSION.encode()).hexdigest()
    (folder / f"{name}.json").write_text(json.dumps(token))


LOGIN = f"[default]\nregion = {REGION}\nlogin_session = {SESSION}\n"


def test_a_profile_of_aws_login_works(ask: Ask, home: Path) -> None:
    configured(home, LOGIN)
    logged_in(home, 3600)
    done = ask(*UP)
    assert done.returncode == 0, done.stderr
    assert f"g4dn.xlarge in {REGION}" in done.stdout


def test_its_session_is_renewed_as_the_aws_command_line_does(ask: Ask, home: Path, sign_in: Any) -> None:
    configured(home, LOGIN)
    logged_in(home, -60)
    key = {"accessKeyId": "ASIANEWNEWNEWNEWNEWN", "secretAccessKey": "new", "sessionToken": "new"}
    sign_in.answer = (
        200,
        {
            "accessToken": key,
            "tokenType": "aws_sigv4",
            "expiresIn": 900,
            "refreshToken": "next",
        },
    )
    done = ask(*UP, AWS_ENDPOINT_URL_SIGNIN=f"http://127.0.0.1:{sign_in.server_port}")
    assert done.returncode == 0, done.stderr
    assert len(sign_in.asked) == 1
    [kept] = (home / ".aws" / "login" / "cache").iterdir()
    assert json.loads(kept.read_text())["refreshToken"] == "next"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("TOKEN_EXPIRED", ("session has expired", "aws login")),
        ("USER_CREDENTIALS_CHANGED", ("credentials have changed", "aws login")),
        ("INSUFFICIENT_PERMISSIONS", ("signin:CreateOAuth2Token", "aws login   # an administrator")),
        ("SOMETHING_NEW", ("aws login", "aws login")),
    ],
)
def test_one_that_cannot_be_renewed_says_so(
    ask: Ask, home: Path, sign_in: Any, code: str, words: tuple[str, str]
) -> None:
    configured(home, LOGIN)
    logged_in(home, -60)
    sign_in.answer = 400, {"error": code, "message": "no"}
    done = ask(*UP, AWS_ENDPOINT_URL_SIGNIN=f"http://127.0.0.1:{sign_in.server_port}")
    assert said(done, 3, words[0]).startswith(words[1])


def test_one_that_was_never_begun_says_so(ask: Ask, home: Path) -> None:
    pytest.importorskip("awscrt", reason="awscrt is not installed")
    configured(home, LOGIN)
    assert said(ask(*UP), 3, "The session of `aws login` is not there") == "aws login"


def test_awscrt_is_named_where_it_is_missing(ask: Ask, home: Path, tmp_path: Path) -> None:
    configured(home, LOGIN)
    done = ask(*UP, PYTHONPATH=without(tmp_path, "awscrt"))
    assert said(done, 8, "need awscrt, which is not installed") == install_line("aws")


def test_awscrt_is_loaded_for_such_a_session_alone(ask: Ask, home: Path) -> None:
    """botocore loads it wherever it is installed, which takes 80 ms."""
    pytest.importorskip("awscrt", reason="awscrt is not installed")
    program = (
        "import sys; from hotdesk.providers.aws.session import boto; boto(); import botocore.session; "
        "print('awscrt.auth' in sys.modules); import awscrt.auth"
    )
    for text, loaded in ((f"[default]\nregion = {REGION}\n", "False"), (LOGIN, "True")):
        configured(home, text)
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, loaded), done.stderr


def without(tmp_path: Path, package: str) -> str:
    """A PYTHONPATH on which that package is not to be had."""
    folder = tmp_path / "lacking"
    folder.mkdir()
    (folder / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name={package!r})\n"
    )
    return f"{folder}{os.pathsep}{ROOT / 'src'}"


# ---- boto3 itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [UP, ("ls",), ("gc",), ("doctor",), ("offers",), ("down", "blue", "--yes")])
def test_boto3_is_named_where_it_is_missing(
    ask: Ask, home: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    configured(home, f"[default]\nregion = {REGION}\naws_access_key_id = A\naws_secret_access_key = x\n")
    if words[0] in {"ls", "down", "doctor"}:
        with Store(Path(os.environ["HOTDESK_STATE"])) as store:
            store.put(Desk(name="blue", goal=Goal.PARKED, since=1.0, created_at=1.0, provider="aws"))
    done = ask(*words, PYTHONPATH=without(tmp_path, "botocore"))
    with Store(Path(os.environ["HOTDESK_STATE"])) as store:
        store.remove("blue")  # nobody is to look for it at AWS once the test is over
    text = done.stdout + done.stderr
    assert done.returncode in {0, 5, 8} if words[0] in {"offers", "ls", "doctor", "gc"} else 8, text
    assert "boto3" in text
    assert install_line("aws") in text or words[0] == "offers"
    assert "defect" not in text


def test_gc_names_the_cloud_that_it_could_not_look_at(ask: Ask, home: Path, tmp_path: Path) -> None:
    configured(home, LOGIN)
    done = ask("gc", PYTHONPATH=without(tmp_path, "botocore"))
    assert done.returncode == 5
    assert "Nothing is left over" not in done.stdout
    assert "aws was not looked at: AWS needs boto3, which is not installed here." in done.stderr
    assert install_line("aws") in done.stderr
    told = json.loads(ask("gc", "--json", PYTHONPATH=f"{tmp_path / 'lacking'}:{ROOT / 'src'}").stdout)
    assert [where.partition(" ")[0] for where in told["unread"]] == ["aws"]


# ---- a program that gives credentials ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/no/such/helper --json", ("No such file or directory: /no/such/helper",)),
        ("/bin/echo not json", ("what it printed is not the JSON document",)),
        ("/bin/echo [1]", ("what it printed is not the JSON document",)),
        ("/bin/true", ("what it printed is not the JSON document",)),
        ("/bin/sh -c 'echo the vault is locked >&2; exit 3'", ("the vault is locked",)),
        ("/bin/echo '{\"Version\": 2}'", ("Unsupported version",)),
        ("/bin/echo '{\"Version\": 1}'", ("AccessKeyId",)),
        ("/etc/hosts", ("/etc/hosts",)),
    ],
)
def test_a_credential_process_that_gives_none(
    ask: Ask, home: Path, program: str, words: tuple[str, ...]
) -> None:
    configured(home, f"[default]\nregion = {REGION}\ncredential_process = {program}\n")
    fix = said(ask(*UP), 3, "credential_process", *words)
    assert fix == f"{program}   # it must print the credentials as JSON"


def test_who_waited_for_a_try_shares_its_outcome(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen regions asked side by side are one question to a person, not seventeen."""
    (home / ".aws").mkdir()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    helper = home / "helper"
    helper.write_text("#!/bin/sh\nsleep 0.3; echo once >> ~/asked; exit 1\n")
    helper.chmod(0o755)
    configured(home, f"[default]\ncredential_process = {helper}\n")
    account = Account(Settings())
    told = side_by_side([partial(account.ec2, f"us-east-{n}") for n in range(17)])
    assert all(isinstance(answer, Refused) for answer in told)
    assert (home / "asked").read_text() == "once\n"
    with pytest.raises(Refused):  # and whoever comes later tries again
        assert account.session
    assert (home / "asked").read_text() == "once\nonce\n"


# ---- a role that wants an MFA code -------------------------------------------------------------------


def at_a_terminal(code: str, *argv: str, timeout: float = 60) -> tuple[int, str, int]:
    """Run it at a terminal, typing that code when asked: its exit status, its output, how often it asked."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(argv[0], argv)
    heard, asked, until = b"", 0, time.monotonic() + timeout
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:
            break
        if not more:
            break
        heard += more
        if heard.count(b"Enter MFA code") > asked:
            asked += 1
            time.sleep(0.2)  # until it listens
            os.write(terminal, f"{code}\n".encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), heard.decode("utf-8", "replace"), asked


def aws() -> str:
    found = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found:
        pytest.skip("the aws command line is not installed")
    return found


HOTDESK = (sys.executable, "-m", "hotdesk")


def test_a_code_is_asked_for_once_and_the_aws_command_line_uses_its_session(ask: Ask, home: Path) -> None:
    configured(home, MFA)
    status, text, asked = at_a_terminal("123456", *HOTDESK, *UP)
    assert (status, asked) == (0, 1), text
    status, text, asked = at_a_terminal("123456", *HOTDESK, *UP)
    assert (status, asked) == (0, 0), text
    assert ask(*UP).returncode == 0  # also without a terminal
    [kept] = (home / ".aws" / "cli" / "cache").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    status, text, asked = at_a_terminal("123456", aws(), "sts", "get-caller-identity")
    assert (status, asked) == (0, 0), text
    assert "assumed-role/desk" in text


def test_a_session_of_the_aws_command_line_is_used(ask: Ask, home: Path) -> None:
    configured(home, MFA)
    status, text, asked = at_a_terminal("654321", aws(), "sts", "get-caller-identity")
    assert (status, asked) == (0, 1), text
    status, text, asked = at_a_terminal("654321", *HOTDESK, *UP)
    assert (status, asked) == (0, 0), text


def test_a_code_that_was_used_is_refused_in_its_own_words_and_asked_once(ask: Ask, home: Path) -> None:
    configured(home, MFA)
    assert at_a_terminal("111111", *HOTDESK, *UP)[0] == 0
    shutil.rmtree(home / ".aws" / "cli")
    status, text, asked = at_a_terminal("111111", *HOTDESK, *UP)
    assert (status, asked) == (3, 1), text
    assert "invalid MFA one time pass code" in text
    assert "with the next code" in text


def test_without_a_terminal_that_is_said(ask: Ask, home: Path) -> None:
    configured(home, MFA)
    fix = said(ask(*UP), 3, "wants an MFA code", "nobody at a terminal")
    assert fix.startswith("aws sts get-caller-identity")


def rows(**providers: str) -> None:
    from hotdesk.core.model import Desk, Goal
    from hotdesk.state.store import Store

    with Store(Path(os.environ["HOTDESK_STATE"])) as store:
        for name, provider in providers.items():
            store.put(Desk(name=name, goal=Goal.PARKED, since=1.0, created_at=1.0, provider=provider))


def test_a_cloud_that_cannot_be_looked_at_hides_no_desk_of_another(ask: Ask, home: Path) -> None:
    configured(home, MFA)
    rows(blue="local", red="aws")
    done = ask("ls")
    assert done.returncode == 0, done.stderr
    assert "blue" in done.stdout
    assert "red" in done.stdout
    assert "red cannot be seen, and may cost money: The role of this AWS profile wants an MFA" in done.stderr
    assert ask("show", "red").returncode == 3


@pytest.mark.parametrize(
    "words",
    [
        *(("ls",), ("park", "red"), ("resume", "red"), ("costs",), ("watch", "--once")),
        *(("ssh", "red", "--", "true"), ("spot", "g4dn.xlarge"), ("doctor", "--adopt")),
        ("watch", "--on", "red", "--send-credentials", "--yes"),
    ],
    ids=" ".join,
)
def test_every_verb_says_it(ask: Ask, home: Path, words: tuple[str, ...]) -> None:
    configured(home, MFA)
    rows(red="aws")
    assert said(ask(*words), 3, "wants an MFA code").startswith("aws sts get-caller-identity")


def test_the_profile_of_hotdesk_toml_is_in_the_command_to_paste(ask: Ask, home: Path) -> None:
    configured(home, MFA.replace("[default]", "[profile work]"))
    settings = home / "hotdesk.toml"
    settings.write_text('[aws]\nprofile = "work"\n')
    fix = said(ask(*UP, HOTDESK_CONFIG=str(settings)), 3, "wants an MFA code")
    assert fix.startswith("aws sts get-caller-identity --profile work ")


def test_a_watcher_takes_a_new_session_before_the_old_one_is_over(
    ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore renews a role's session by itself, but not one that wants a code."""
    codes = iter(["222222", "333333"])
    monkeypatch.setattr(session, "_ask", lambda question, profile: next(codes))
    configured(home, MFA)
    account = Account(Settings())
    before = account.ec2(REGION)
    account.renew()
    assert account.ec2(REGION) is before
    shutil.rmtree(home / ".aws" / "cli")
    monkeypatch.setattr("hotdesk.providers.aws.account.MANDATORY_SECONDS", 86400)
    account.renew()
    assert account.ec2(REGION) is not before
    assert next(codes, None) is None


def test_what_is_lent_is_the_profile_of_the_settings_at_a_desk_that_has_none_of_that_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are sent along: botocore refused their profile, and the watcher there did nothing."""
    (home / ".aws").mkdir()
    configured(home, "[profile work]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n")
    settings = Settings(profile="work")
    assert own(settings) == "its own (config-file)"
    sent = lend(settings)
    shutil.rmtree(home / ".aws")
    assert own(settings) == ""
    (home / "aws").write_text(sent.body)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws"))
    for profile in ("work", ""):
        assert Account(Settings(profile=profile)).who == "AKIAIOSFODNN7EXAMPLE"


# ---- other sessions ----------------------------------------------------------------------------------


def test_an_sso_session_that_was_never_begun(ask: Ask, home: Path) -> None:
    configured(
        home,
        f"[default]\nregion = {REGION}\nsso_session = corp\nsso_account_id = 123456789012\n"
        f"sso_role_name = Dev\n[sso-session corp]\nsso_region = {REGION}\n"
        "sso_start_url = https://corp.awsapps.com/start\n",
    )
    assert said(ask(*UP), 3, "SSO") == "aws sso login"


def test_a_role_that_may_not_be_taken_on(fake: FakeEc2, ask: Ask, home: Path) -> None:
    configured(home, MFA.replace("mfa_serial", "# mfa_serial"))
    who = f"User: {SESSION} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    fake.post(
        "refuse", service="sts", action="AssumeRole", code="AccessDenied", message=who, status=403, times=None
    )
    assert said(ask(*UP), 3, "sts:AssumeRole", ROLE).startswith("aws sts get-caller-identity")


def test_a_profile_that_is_not_there(ask: Ask, home: Path) -> None:
    configured(home, "[default]\n")
    assert said(ask(*UP, AWS_PROFILE="wrok"), 3, "wrok") == "aws configure list-profiles"


def test_a_configuration_that_cannot_be_read(ask: Ask, home: Path) -> None:
    configured(home, "this is no configuration\n")
    assert said(ask(*UP), 3, "configuration is broken").startswith("aws configure list")


# ---- the region --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said_by", "wanted"),
    [
        ({}, HOME),
        ({"profile": "eu-west-3"}, "eu-west-3"),
        ({"profile": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"profile": "eu-west-3", "AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"settings": "sa-east-1", "AWS_REGION": "eu-west-1"}, "sa-east-1"),
    ],
)
def test_the_region_is_the_one_that_aws_itself_would_take(
    home: Path, monkeypatch: pytest.MonkeyPatch, said_by: dict[str, str], wanted: str
) -> None:
    """hotdesk.toml; AWS_REGION, AWS_DEFAULT_REGION, the profile, as the aws command line (version 2)."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if name in said_by:
            monkeypatch.setenv(name, said_by[name])
    (home / ".aws").mkdir()
    configured(home, f"[default]\nregion = {said_by['profile']}\n" if "profile" in said_by else "[default]\n")
    account = Account(Settings(regions=tuple(said_by[n] for n in ("settings",) if n in said_by)))
    assert account.home == wanted
    # The services that give a session are asked there, too.
    region = account.session.get_config_variable("region")
    assert region == said_by.get("AWS_REGION", region)


# ---- what is no matter of credentials ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "words", "fix"),
    [
        ({"AWS_REGION": "us-wst-2"}, "AWS has no region us-wst-2", "aws configure list"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "The proxy does not answer", "env | grep -i _proxy"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "stands in for AWS", "unset AWS_ENDPOINT_URL"),
    ],
)
def test_what_keeps_an_answer_from_us_is_named(
    ask: Ask, home: Path, variables: dict[str, str], words: str, fix: str
) -> None:
    configured(home, f"[default]\nregion = {REGION}\naws_access_key_id = A\naws_secret_access_key = x\n")
    done = ask(*UP, **{"AWS_ENDPOINT_URL": "", "RES_OPTIONS": "attempts:1 timeout:1", **variables})
    assert done.returncode == 7, done.stderr
    assert words in done.stderr
    assert f"fix: {fix}" in done.stderr


def test_only_what_may_be_the_network_is_called_so() -> None:
    def what(error: Exception) -> str:
        return unreachable(error).what

    real = "https://ec2.us-west-2.amazonaws.com/"
    assert what(errors.EndpointConnectionError(endpoint_url=real)) == "AWS does not answer."
    assert what(errors.ConnectTimeoutError(endpoint_url=real)) == "AWS does not answer."
    assert "certificate" in what(errors.SSLError(endpoint_url=real, error="self-signed"))


def test_without_boto3_a_session_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(Missing) as caught:
        session.open_session()
    assert caught.value.fix == install_line("aws")
