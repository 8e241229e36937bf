"""Find this computer's credentials, where Alibaba Cloud's own tools look, and in their order.

The first source that is *there* is the one that is used. The official chain falls through in silence: where a
profile is missing, or the configuration damaged, it takes the next source, perhaps of another account. So its
parts are used one by one here, and a source that is there and cannot be read is an error that names it.

Keys in the environment and plain access keys in ~/.aliyun/config.json need no package. All other modes are
the official library's (alibabacloud-credentials), which is imported only for them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotdesk.core.clouds import Sent
from hotdesk.core.errors import Kind, Missing, Refused
from hotdesk.providers.aliyun.signing import Keys
from hotdesk.system import install_line

if TYPE_CHECKING:
    from hotdesk.providers.aliyun.settings import Settings

_ID, _SECRET = "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
_TOKEN, _PROFILE = "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_PROFILE"
_OIDC = ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN")
#: The file of keys that the owner of this desk lent to the watcher on it (`hotdesk watch --on`).
LENT = "HOTDESK_ALIYUN_KEYS"
_URI, _REGION = "ALIBABA_CLOUD_CREDENTIALS_URI", "ALIBABA_CLOUD_REGION_ID"
_DMI = Path("/sys/class/dmi/id/product_name")

LOG_IN = "aliyun configure"
KEYS = f"export {_ID}=… {_SECRET}=…   # or: {LOG_IN}"


def has_credentials() -> bool:
    """Whether there are credentials where Alibaba Cloud's own tools look. No request, no import."""
    files = _config_file(), _ini_file()
    told = any(os.environ.get(name) for name in (LENT, _ID, _PROFILE, _OIDC[0], _URI))
    return told or any(file.is_file() for file in files)


def find(profile: str = "") -> Callable[[], Keys]:
    """A function that returns the keys to sign the next request with; they may be renewed in between.

    `profile`: that one alone. Raises `Refused` (denied) if there are none or they cannot be used, `Missing`
    without the package that they need. Keys that were lent for this process come before all others.
    """
    if lent := os.environ.get(LENT, ""):
        return _of_lender(Path(lent))
    if named := profile or os.environ.get(_PROFILE, ""):
        return _of_profile(named)
    if os.environ.get(_ID) or os.environ.get(_SECRET):
        return _of_environment()
    if all(os.environ.get(name) for name in _OIDC):
        return _asked("its OIDC token", "OIDCRoleArnCredentialsProvider")
    if _config_file().is_file():
        return _of_profile("")
    if _ini_file().is_file():
        return _asked(f"{_ini_file()}", "ProfileCredentialsProvider")
    if _is_a_machine_there():
        # Without a thread that renews them, and so without one that outlives a command.
        return _asked("this machine's RAM role", "EcsRamRoleCredentialsProvider", async_update_enabled=False)
    if os.environ.get(_URI):
        return _asked(f"${_URI}", "URLCredentialsProvider")
    raise _denied("There are no Alibaba Cloud credentials here.", KEYS)


def home_region(profile: str = "") -> str:
    """The region that the environment or the profile names; "" if neither does."""
    if told := os.environ.get(_REGION, ""):
        return told
    try:
        _, found = _profile(profile or os.environ.get(_PROFILE, ""))
    except Refused:
        return ""
    return str(found.get("region_id") or "")


def lend(settings: Settings) -> Sent:
    """The keys that this computer uses now, as a file of them. Raises `Refused`, `Missing`."""
    keys = find(settings.profile)()
    told = {"id": keys.id, "secret": keys.secret, "token": keys.token}
    return Sent(label=f"the Alibaba Cloud access key {keys.id[:8]}…", body=json.dumps(told))


def own(settings: Settings) -> str:
    """Where this computer's own keys come from, in words; "" where none can be used."""
    try:
        return f"its own ({find(settings.profile)().source})"
    except (Missing, Refused):
        return ""


def _of_lender(file: Path) -> Callable[[], Keys]:
    try:
        told = json.loads(file.read_text("utf-8"))
        keys = Keys(str(told["id"]), str(told["secret"]), str(told["token"]), f"{file}, which was sent here")
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"${LENT} names {file}, which cannot be read: {type(error).__name__}: {error}."
        raise _denied(
            why, "hotdesk watch --stop --on NAME   # where it was sent from, and send it again"
        ) from error
    return lambda: keys


def _of_environment() -> Callable[[], Keys]:
    told = [os.environ.get(name, "") for name in (_ID, _SECRET)]
    if not all(told):
        have, lack = (_ID, _SECRET) if told[0] else (_SECRET, _ID)
        raise _denied(f"${have} is set and ${lack} is not.", f"export {lack}=…   # or: unset {have}")
    keys = Keys(told[0], told[1], os.environ.get(_TOKEN, ""), "the environment")
    return lambda: keys


def _of_profile(name: str) -> Callable[[], Keys]:
    """The keys of a profile of ~/.aliyun/config.json; "": of the current one."""
    chosen, found = _profile(name)
    where = f"the profile {chosen!r} of {_config_file()}"
    mode = str(found.get("mode") or "AK")
    if mode in {"AK", "StsToken"}:
        need = ["access_key_id", "access_key_secret", *(["sts_token"] if mode == "StsToken" else [])]
        if lacking := [field for field in need if not found.get(field)]:
            raise _denied(f"{where} has no {lacking[0]}.", _configure(chosen))
        token = str(found["sts_token"]) if mode == "StsToken" else ""
        keys = Keys(str(found["access_key_id"]), str(found["access_key_secret"]), token, where)
        return lambda: keys
    return _asked(where, "CLIProfileCredentialsProvider", profile_name=chosen)


def _profile(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the content of a profile. Raises `Refused` where it cannot be read."""
    file = _config_file()
    try:
        told = json.loads(file.read_text("utf-8"))
        name = name or str(told["current"])
        profiles = {str(one["name"]): dict(one) for one in told["profiles"]}
    except FileNotFoundError:
        raise _denied(f"There is no {file}, so there is no profile {name!r}.", _configure(name)) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _denied(
            f"{file} cannot be read: {type(error).__name__}: {error}.", f"mv {file} {file}.bad && {LOG_IN}"
        ) from error
    if name not in profiles:
        raise _denied(
            f"{file} has no profile {name!r}; it has: {', '.join(profiles) or 'none'}.", _configure(name)
        )
    return name, profiles[name]


def _asked(where: str, part: str, **chosen: Any) -> Callable[[], Keys]:
    """Keys that a part of the official library finds, and renews."""
    # It reads the environment when it is imported, prints tracebacks on stderr, and may look for a metadata
    # service for seconds where there is none.
    logging.getLogger("credentials").disabled = True
    if part != "EcsRamRoleCredentialsProvider":
        os.environ.setdefault("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
    try:
        from alibabacloud_credentials import provider
    except ModuleNotFoundError as error:
        raise Missing(
            f"The Alibaba Cloud credentials of {where} need a package that is not installed here.",
            f"{error}.",
            install_line("aliyun"),
        ) from None
    made: list[Any] = []

    def keys() -> Keys:
        try:
            if not made:
                made.append(getattr(provider, part)(**chosen))
            found = made[0].get_credentials()
        except Exception as error:  # of many kinds: a damaged file, a silent service, a program that fails
            raise _denied(f"{where} gives no Alibaba Cloud credentials: {error}.", _configure()) from error
        return Keys(
            found.get_access_key_id(),
            found.get_access_key_secret(),
            found.get_security_token() or "",
            where,
        )

    return keys


def _is_a_machine_there() -> bool:
    """Whether this is an instance of Alibaba Cloud, which has a metadata service."""
    if os.environ.get("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        return "Alibaba Cloud" in _DMI.read_text("utf-8", "replace")
    except OSError:
        return False


def _config_file() -> Path:
    return Path("~/.aliyun/config.json").expanduser()


def _ini_file() -> Path:
    named = os.environ.get("ALIBABA_CLOUD_CREDENTIALS_FILE")
    return Path(named or "~/.alibabacloud/credentials.ini").expanduser()


def _configure(name: str = "") -> str:
    return f"{LOG_IN}{f' --profile {name}' if name else ''}"


def _denied(why: str, fix: str) -> Refused:
    return Refused(Kind.DENIED, why, fix=fix, seconds=0.0)
