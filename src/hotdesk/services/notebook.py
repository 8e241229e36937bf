"""A desk's Jupyter: where it answers, who can reach it, and its password."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hotdesk.core.errors import Missing
from hotdesk.core.model import Desk, Value
from hotdesk.services.exposure import Exposure
from hotdesk.services.view import Public, Views


class Notebook(Value, frozen=True):
    """A desk's Jupyter, answering."""

    desk: str
    url: str
    password_file: str  # only its owner can read it
    public: Public | None = None  # None: reached from this computer only

    @property
    def password(self) -> str:
        """Raises `Missing` when its file is not there."""
        return password(self.desk, Path(self.password_file))


@dataclass(kw_only=True, eq=False)
class Notebooks:
    """Opens the Jupyter of desks, through an ssh tunnel where the desk is elsewhere."""

    state: Path
    views: Views
    exposure: Exposure

    def open(self, desk: Desk, *, public: str = "", private: bool = False) -> Notebook:
        """Jupyter, answering. `public`: for whom besides, see `Exposure.publish`; `private`: for nobody.

        Raises `NeedsDecision` where the desk does not run, `Unreachable`.
        """
        from hotdesk.connect import tunnel

        if private:
            self.exposure.hide(desk)
        elif public:
            self.exposure.publish(desk, public)
        else:
            self.exposure.republish(desk)
        shown = self.exposure.public.get(desk.name)
        folder = self.state / "desks" / desk.name
        url = shown.url if shown else tunnel.notebook_url(self.views.access(desk), folder)
        return Notebook(desk=desk.name, url=url, password_file=str(self.password_file(desk)), public=shown)

    def password_file(self, desk: Desk) -> Path:
        """Where the password of a desk's Jupyter stands."""
        return self.state / "desks" / desk.name / "notebook-password"


def password(desk: str, file: Path) -> str:
    """The password of a desk's Jupyter. Raises `Missing` when its file is not there."""
    try:
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise Missing(
            f"The password of {desk} is not in {file}.",
            error.strerror or str(error),
            f"hotdesk stop {desk} && hotdesk start {desk}   # with a new password",
        ) from error
