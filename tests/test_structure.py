"""Who may import whom, and nobody but the doors prints: read from the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "hotdesk"
FILES = sorted(SOURCE.rglob("*.py"))
FAKES = sorted((Path(__file__).parents[1] / "fakes").rglob("*.py"))

#: The floors of the house, from the street down. A file imports from its own room, and from floors below it.
#: Rooms that stand side by side on one floor import each other only as `BESIDE` says.
FLOORS = (
    ("__main__", "__init__"),
    ("cli", "web"),
    ("api",),
    ("doctor",),
    ("services",),
    ("sweep",),
    ("loop", "jobs", "market"),
    ("simulate",),
    ("connect", "state", "config"),
    ("providers",),
    ("snapshots",),
    ("parallel", "charts", "guest"),
    ("system",),
    ("core",),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
BESIDE = {"cli": {"web"}, "jobs": {"market"}, "loop": {"jobs"}}
CORE_LIBRARIES = {"msgspec"}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by full name."""
    return imported(ast.parse(file.read_text()), file)


def imported(tree: ast.AST, file: Path) -> set[str]:
    package = ["hotdesk", *file.relative_to(SOURCE).with_suffix("").parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{name.name}" for name in node.names}
    return found


def part(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def rooms(file: Path) -> set[tuple[str, ...]]:
    """What a file imports of hotdesk, below the package: ("core", "model", "Desk")."""
    return {tuple(name.split(".")[1:]) for name in imports(file) if name.startswith("hotdesk.")} - {()}


def test_every_room_has_a_floor() -> None:
    assert {part(file) for file in FILES} == FLOOR.keys()


def test_imports_go_downwards() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)} imports {'.'.join(name)}"
        for file in FILES
        for name in rooms(file)
        if name[0] in FLOOR
        and name[0] not in {part(file), *BESIDE.get(part(file), ())}
        and FLOOR[name[0]] <= FLOOR[part(file)]
    ]
    assert not wrong


#: A desk at another machine is one of that machine's own, and its images are in this computer's pool.
STANDS_ON = {"ssh": {"local"}}


def test_clouds_do_not_import_each_other_and_only_the_registry_names_them() -> None:
    clouds = {folder.name for folder in (SOURCE / "providers").iterdir() if (folder / "__init__.py").exists()}
    clouds.remove("cloud")  # what they share
    wrong = [
        f"{file.relative_to(SOURCE)} imports {'.'.join(name)}"
        for file in FILES
        if part(file) == "providers" and file.name != "registry.py"
        for name in rooms(file)
        if name[0] == "providers"
        and len(name) > 1
        and name[1] in clouds - {(own := file.relative_to(SOURCE).parts[1]), *STANDS_ON.get(own, ())}
    ]
    assert not wrong


def test_nothing_above_the_clouds_names_one() -> None:
    """Not by an import, and not in a word that a person reads or a program compares."""
    names = re.compile(r"\b(aws|aliyun|ec2|amazonaws|boto3)\b", re.IGNORECASE)
    wrong = [
        f"{file.relative_to(SOURCE)}:{line}: {text}"
        for file in FILES
        if str(file.relative_to(SOURCE)) not in OF_A_FORMAT and part(file) not in {"providers", "guest"}
        for line, text in (*words(file), *((0, ".".join(name)) for name in rooms(file)))
        if names.search(text)
    ]
    assert not wrong


#: What a cloud's own tool writes and recorded traces have its name, and so have the sources of figures.
OF_A_FORMAT = {
    "market/history_files.py", "market/gpus.py", "cli/commands/spot.py", "cli/commands/simulate.py",
}  # fmt: skip


def words(file: Path) -> Iterable[tuple[int, str]]:
    """The strings of a file, and where they are; without its docstrings."""
    tree = ast.parse(file.read_text())
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    told = {id(n.body[0].value) for n in nodes if n.body and isinstance(n.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, node.value


def test_the_market_knows_no_cloud() -> None:
    """It stores, filters and ranks; what a cloud sells comes through the registry."""
    wrong = [
        f"{file.relative_to(SOURCE)} imports {'.'.join(name)}"
        for file in FILES
        if part(file) == "market"
        for name in rooms(file)
        if name[0] == "providers" and name[1:2] != ("registry",)
    ]
    assert not wrong


def test_no_circle_of_imports() -> None:
    """Also not by imports on first use; those for the type checker alone do not count."""
    modules = {module(file): needs(file) for file in FILES}
    graph = {
        name: {known(other, modules) for other in wanted} - {name, ""} for name, wanted in modules.items()
    }
    while leaves := {name for name, below in graph.items() if not below}:
        graph = {name: below - leaves for name, below in graph.items() if name not in leaves}
    assert not graph, "each of these is in a circle, or above one"


def module(file: Path) -> str:
    return ".".join(["hotdesk", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def needs(file: Path) -> set[str]:
    """What a file imports when it runs."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return imported(tree, file)


def known(name: str, modules: Iterable[str]) -> str:
    """The module of ours that an import reads: itself, or the one that holds the name."""
    return next((m for m in (name, name.rpartition(".")[0]) if m in modules and m != "hotdesk"), "")


@pytest.mark.parametrize("file", [f for f in FILES if part(f) == "core"], ids=lambda f: f.name)
def test_the_core_needs_nothing_but_the_standard_library_and_msgspec(file: Path) -> None:
    import sys

    others = {name.split(".")[0] for name in imports(file)} - {"hotdesk", "__future__"} - CORE_LIBRARIES
    assert others <= sys.stdlib_module_names
    acting = {"os", "subprocess", "socket", "time", "random", "pathlib", "io", "sqlite3", "threading"}
    assert not others & acting, "values in, values out"


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if part(f) not in {"cli", "__main__", "guest"}],
    ids=lambda f: str(f.relative_to(SOURCE)),
)
def test_nothing_prints_below_the_doors(file: Path) -> None:
    """Except on the desk itself (machine/), where printing is how a script answers."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "breakpoint"}, f"line {node.lineno}"


def test_a_fake_stands_alone() -> None:
    """Whoever installs it has neither hotdesk nor its tests."""
    assert FAKES
    wrong = [
        f"{file.name} imports {name}"
        for file in FAKES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        )
        if name.partition(".")[0] in {"hotdesk", "tests", "benchmarks", "scripts"}
    ]
    assert not wrong


@pytest.mark.parametrize("file", [*FILES, *FAKES], ids=lambda f: f"{f.parent.name}/{f.name}")
def test_files_stay_readable(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= 520, f"{lines} lines: a file that wants to be two"


#: What is easily got wrong stands in one place: how it is called in the source, and the files that may.
ONCE = {
    "a file is replaced": (r"os\.(replace|rename)\b|\.replace\(([^,()=\"'*]|\([^()]*\))+\)|\.rename\(", {
        "system.py",  # write_atomically
        "connect/keys.py", "connect/placing.py", "doctor/__init__.py", "snapshots/pack_file.py",
        "snapshots/restore.py", "providers/local/provider.py", "providers/local/runtime/terminator.py",
        "services/sweeps.py", "services/sweep_takeover.py",
    }),  # … and what is moved, made by another program or a whole folder
    "a file is locked": (r"fcntl\.(flock|lockf)\b|LOCK_EX", {"system.py"}),
    "a process outlives us": (r"posix_spawn\(|os\.fork\(|os\.setsid\(", {"system.py"}),
    "a process gets a session": (r"start_new_session", {
        "connect/pseudo_terminal.py", "providers/local/runtime/jupyter.py",
        "providers/local/runtime/ssh_session.py",
    }),  # a terminal's, which a hang-up ends; children of a desk's supervisor, which ends them
    "a thread is started": (r"threading\.Thread\(|ThreadPoolExecutor\(", {
        "parallel.py", "snapshots/chunk_store.py", "providers/local/runtime/jupyter.py",
    }),  # the store's one flusher; a line of Python that a desk's Jupyter begins with
    "a wait grows": (r"\*\*\s*(min\()?(times|tries|attempts?)\b", {"core/backoff.py"}),
}  # fmt: skip


@pytest.mark.parametrize("what", ONCE)
def test_small_machinery_stands_in_one_place(what: str) -> None:
    """Programs that run alone on a machine (guest/) carry what they need."""
    pattern, allowed = ONCE[what]
    found = {
        str(file.relative_to(SOURCE))
        for file in FILES
        if part(file) != "guest" and re.search(pattern, file.read_text())
    }
    assert found == allowed
