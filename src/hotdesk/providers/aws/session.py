"""Open an AWS session with credentials found as the aws command line does, and explain its errors.

botocore, which boto3 brings, is imported on first use; of boto3 itself, only what costs time is missing then:
resources and transfers. For a role with MFA, the code is asked for once: the role's session is cached
in ~/.aws/cli/cache, shared with the aws command line. (AWS accepts each code once, so a tool that asks at
every command would fail at the second command within half a minute.)
"""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hotdesk.core.errors import Kind, Missing, Refused
from hotdesk.system import install_line

if TYPE_CHECKING:
    from types import ModuleType

    import botocore.session

WHO = "aws sts get-caller-identity"

#: Environment variables that contain or locate credentials.
_TOLD = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}

#: botocore's credential providers whose sessions the aws command line caches.
_KEPT = ("assume-role", "assume-role-with-web-identity")

#: Error codes about load, not credentials: passed on unchanged.
_PASSING = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
)


def has_credentials() -> bool:
    """Whether there are credentials where AWS's own tools look. Sends no request, imports nothing."""
    if any(os.environ.get(name) for name in _TOLD):
        return True
    return any(_file(variable, name).is_file() for variable, name in _FILES.items())


def boto() -> Any:
    """botocore's exceptions. Raises `Missing` if boto3 is not installed."""
    try:
        _load_compat()
        from botocore import exceptions
    except ModuleNotFoundError as error:
        raise Missing(
            "AWS needs boto3, which is not installed here.", f"{error}.", install_line("aws")
        ) from None
    return exceptions


def _load_compat() -> None:
    """Load botocore.compat, without awscrt where no profile of these files could need it.

    botocore loads awscrt wherever it is installed, which takes 80 ms. Only the sessions of
    `aws login` need it here, and a profile names them by `login_session`.
    """
    if {"awscrt", "botocore.compat"} & sys.modules.keys() or _names_login_session():
        return
    sys.modules["awscrt"] = cast("ModuleType", None)  # importing it then fails as if it were not installed
    try:
        import botocore.compat  # noqa: F401
    finally:
        del sys.modules["awscrt"]


def _names_login_session() -> bool:
    for variable, name in _FILES.items():
        with contextlib.suppress(OSError):
            if b"login_session" in _file(variable, name).read_bytes():
                return True
    return False


def _file(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable) or f"~/.aws/{name}").expanduser()


def open_session(profile: str = "") -> botocore.session.Session:
    """Open a session and load its credentials, if it has any.

    Its region is AWS_REGION, else AWS_DEFAULT_REGION, else the profile's, as in the aws command line
    (version 2) and the other SDKs. botocore itself does not read AWS_REGION (boto3 issue 2574).

    Raises `Refused` (denied) if the credentials are unusable, `Missing` without a package that they need,
    and botocore's exceptions if AWS does not answer.
    """
    errors = boto()
    import botocore.session

    session = None
    try:
        session = botocore.session.Session()
        for name, value in (("profile", profile), ("region", os.environ.get("AWS_REGION"))):
            if value:
                session.set_config_variable(name, value)
        session.get_scoped_config()  # raises for a profile that there is not
        share_models(session)
        _read_times_fast(session)
        _share_with_the_command_line(session, profile)
        if found := session.get_credentials():
            found.get_frozen_credentials()  # a role is assumed here, once, and not by each thread
    except errors.MissingDependencyException as error:
        what = "The AWS credentials need awscrt, which is not installed here."
        raise Missing(what, str(error), install_line("aws")) from error
    except errors.ClientError as error:
        if no := _of_a_role(error, profile):
            raise no from error
        raise
    except (errors.HTTPClientError, errors.ConnectionError, Refused):
        raise
    except Exception as error:  # including errors of a credential program or a malformed file
        raise complaint(error, profile, _helper(session)) or _unreadable(error, profile) from error
    return session


_loaders: dict[str, Any] = {}  # botocore's, by the folders that they read besides their own
_methods: dict[tuple[str, str], dict[str, Any]] = {}  # of a service's clients, by those folders and its name


def share_models(session: botocore.session.Session) -> None:
    """Read the descriptions of AWS's services, and keep what is made of them, once a process.

    Otherwise the client of each region has the 800 methods of EC2 as its own, which take 1 MB.
    """
    from hotdesk.providers.aws.models import loader

    folders = str(session.get_config_variable("data_path") or "")
    if folders not in _loaders:
        _loaders[folders] = loader(folders)
    session.register_component("data_loader", _loaders[folders])
    share = partial(_share_methods, folders)
    session.get_component("event_emitter").register_last("creating-client-class", share)


def _share_methods(folders: str, class_attributes: dict[str, Any], event_name: str, **_: Any) -> None:
    """Give a new client the methods of the first one of its service: all they use is the client itself."""
    known = _methods.setdefault((folders, event_name), dict(class_attributes))
    if known.keys() == class_attributes.keys():
        class_attributes.update(known)


def _read_times_fast(session: botocore.session.Session) -> None:
    """Read EC2's times with Python's own parser: dateutil's took half of reading a spot price history."""
    from botocore.utils import parse_timestamp

    def moment(value: Any) -> datetime:
        if isinstance(value, str) and value[4:5] == "-":  # else a number, or a date in words
            with contextlib.suppress(ValueError):
                if (read := datetime.fromisoformat(value)).tzinfo:
                    return read
        return cast("datetime", parse_timestamp(value))

    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)


def _share_with_the_command_line(session: botocore.session.Session, profile: str) -> None:
    """Cache role sessions where the aws command line does (awscli: customizations/assumerole.py)."""
    from botocore.credentials import JSONFileCache

    chain = session.get_component("credential_provider")
    for name in _KEPT:
        chain.get_provider(name).cache = JSONFileCache(str(Path("~/.aws/cli/cache").expanduser()))
    chain.get_provider("assume-role")._prompter = lambda question: _ask(question, profile)


def _ask(question: str, profile: str) -> str:
    """Ask for the MFA code at this terminal. Raises `Refused` without one."""
    import getpass

    with contextlib.suppress(EOFError):
        if sys.stdin.isatty() and sys.stderr.isatty():
            return getpass.getpass(question)
    raise _denied(
        "The role of this AWS profile wants an MFA code, and there is nobody at a terminal here to give it.",
        f"{_with(WHO, profile)}   # at a terminal; hotdesk then uses the session that it keeps",
    )


def _helper(session: botocore.session.Session | None) -> str:
    """The profile's credential_process; "" for none."""
    try:
        return str(session.get_scoped_config().get("credential_process", "")) if session else ""
    except Exception:  # the configuration may be unreadable
        return ""


# ---- errors ------------------------------------------------------------------------------------------


def _with(command: str, profile: str) -> str:
    return f"{command} --profile {profile}" if profile else command


def _denied(message: str, fix: str) -> Refused:
    return Refused(Kind.DENIED, message, fix=fix)


def none_found(profile: str = "") -> Refused:
    return _denied(
        "No AWS credentials were found: neither in the environment nor in ~/.aws.",
        f"{_with('aws login', profile)}   # or: aws configure sso, aws configure",
    )


def complaint(error: BaseException, profile: str = "", helper: str = "") -> Refused | None:
    """Translate botocore's errors about credentials, raised before any request; None for other errors.

    `helper`: the profile's `credential_process`.
    """
    e = boto()
    no_provider = getattr(e, "UnknownTokenProviderError", e.UnknownCredentialError)  # newer than our floor
    match error:
        case e.NoCredentialsError() | e.NoAuthTokenError():
            return none_found(profile)
        case e.ProfileNotFound():
            return _denied(f"{error}.", "aws configure list-profiles")
        case e.LoginInsufficientPermissions():
            allow = "an administrator must allow signin:CreateOAuth2Token first"
            return _denied(
                f"These credentials may not use `aws login`: {error}",
                f"{_with('aws login', profile)}   # {allow}",
            )
        case e.LoginError():
            return _denied(
                f"The session of `aws login` is not there, or is over: {error}", _with("aws login", profile)
            )
        case e.SSOError() | e.TokenRetrievalError():
            return _denied(
                f"The SSO session is not there, or is over: {error}", _with("aws sso login", profile)
            )
        case e.RefreshWithMFAUnsupportedError():
            return _denied(
                "The session of this AWS profile's role is over, and a new one wants an MFA code.",
                f"{_with(WHO, profile)}   # at a terminal; hotdesk then uses the session that it keeps",
            )
        case e.CredentialRetrievalError() if helper or "custom-process" in str(error):
            return _process(str(error), helper)
        case e.CredentialRetrievalError() | e.MetadataRetrievalError():
            return _denied(f"The AWS credentials cannot be renewed: {error}", _with(WHO, profile))
        case e.MissingDependencyException():
            return _denied(
                f"The AWS credentials need a package that is not installed here: {error}", install_line("aws")
            )
        case (
            e.PartialCredentialsError()
            | e.ConfigParseError()
            | e.ConfigNotFound()
            | e.InvalidConfigError()
            | e.UnknownCredentialError()
            | no_provider()
            | e.InvalidIMDSEndpointError()
            | e.InvalidIMDSEndpointModeError()
        ):
            return _denied(
                f"The AWS configuration is broken: {error}",
                f"{_with('aws configure list', profile)}   # says what is set where; aws configure mends it",
            )
        case OSError() | ValueError() | LookupError() | TypeError() | AttributeError() if helper:
            return _process(_plain(error), helper)
    return None


def _plain(error: BaseException) -> str:
    """What is wrong with a credential program, or with its output."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return f"what it printed is not the JSON document that AWS's tools expect ({error})"


def _process(why: str, helper: str) -> Refused:
    run = f"{helper}   # " if helper else "aws configure list   # names the profile; "
    return _denied(
        f"The credential_process of this AWS profile gave no credentials: {why.strip()}",
        f"{run}it must print the credentials as JSON",
    )


def _unreadable(error: BaseException, profile: str) -> Refused:
    return _denied(
        f"The AWS credentials cannot be read: {type(error).__name__}: {error}", _with(WHO, profile)
    )


def _of_a_role(error: Any, profile: str) -> Refused | None:
    """Translate AWS's refusal of a role's session; None for errors unrelated to the credentials."""
    told = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    code, said = str(told.get("Code", "")), str(told.get("Message", "")).strip()
    if not 400 <= status < 500 or code in _PASSING:
        return None
    what = f"AWS gives no session for this profile ({error.operation_name}): {said or code}"
    if "one time pass" in said:
        return _denied(what, f"{_with(WHO, profile)}   # with the next code: each can be used once")
    return _denied(what, f"{_with(WHO, profile)}   # says the same as long as it is so")
