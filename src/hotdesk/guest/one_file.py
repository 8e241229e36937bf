"""Make a program for the machine one small file: it travels in user data, which EC2 limits to 16 KiB."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from string import ascii_letters


@cache
def source(name: str) -> str:
    """A program for the machine as one file: sibling imports inlined, comments removed to save space."""
    return _lean(Path(__file__).with_name(f"{name}.py").read_text("utf-8"))


def _lean(source: str) -> str:
    """The program without comments, docstrings and types, except the commands in the module docstring.

    Names get a letter or two. Indents shrink to one space, which is safe because unparsed code
    has no multi-line strings.
    """
    tree = ast.parse(source)
    if said := ast.get_docstring(tree):
        usage = re.findall(r"(?m)^[a-z]+\.py \S+", said)
        tree.body[0] = ast.Expr(ast.Constant("\n".join(usage or said.splitlines()[:1])))
    tree = _Lean(frozenset(map(ast.unparse, tree.body))).visit(tree)
    _shorten_locals(tree)
    _shorten_private(tree)
    _shorten_public(tree)
    text = ast.unparse(ast.fix_missing_locations(tree))
    text = re.sub(r"(?m)^(?: {4})+", lambda m: " " * (len(m[0]) // 4), re.sub(r"\n{2,}", "\n", text))
    return f"#!/usr/bin/env python3\n{_close_up(text)}"


def _only_types(node: ast.stmt) -> bool:
    """Whether it is an import for type annotations only."""
    return isinstance(node, ast.ImportFrom) and node.module in {"__future__", "typing"}


class _Lean(ast.NodeTransformer):
    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self.known = known  # what the file itself imports

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt] | None:
        if node.module and node.module.startswith("hotdesk.guest."):
            beside = ast.parse(
                Path(__file__).with_name(f"{node.module.rpartition('.')[2]}.py").read_text("utf-8")
            )
            return [
                _Lean().visit(part)
                for part in beside.body[1:]
                if not _only_types(part) and ast.unparse(part) not in self.known
            ]
        return None if _only_types(node) else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return ast.fix_missing_locations(ast.copy_location(ast.Assign([node.target], node.value), node))


def _shorten_locals(tree: ast.Module) -> None:
    """Rename the variables and parameters of each function to single letters: 5 % of the user data, measured.

    A name that means anything else anywhere in the file keeps it: functions, parameters that a call names
    and what a text names, imports, builtins, variables of the module or of a class, `global` and `nonlocal`.
    """
    kept = {*dir(builtins), *_names_outside_functions(tree)}
    for function in _functions(tree):
        inside = list(ast.walk(function))
        given = [n for n in inside if isinstance(n, ast.arg)]
        names = [n for n in inside if isinstance(n, ast.Name)]
        used = kept | {n.id for n in names} | {n.arg for n in given}
        free = (letter for letter in ascii_letters if letter not in used)
        stored = [n.arg for n in given] + [n.id for n in names if isinstance(n.ctx, ast.Store)]
        long = dict.fromkeys(name for name in stored if name not in kept and len(name) > 1)
        short = dict(zip(long, free, strict=False))
        for name in names:
            name.id = short.get(name.id, name.id)
        for one in given:
            one.arg = short.get(one.arg, one.arg)


def _shorten_private(tree: ast.Module) -> None:
    """Rename what the file defines with an underscore in front, as module or class: nobody else names it.

    A name that is also a parameter, a keyword, part of a string, or declared `global` stays.
    """
    nodes = list(ast.walk(tree))
    made = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    defined = {node.name for node in made}
    defined |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    defined |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    kept = {*(node.id for node in names), *(node.attr for node in attributes)} - defined
    texts = ""
    for node in nodes:
        match node:
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                kept.add(name)
            case ast.Global(names=several) | ast.Nonlocal(names=several):
                kept.update(several)
            case ast.Constant(value=str(text)):
                texts += f" {text}"
    private = [name for name in sorted(defined - kept) if re.fullmatch(r"_[a-z]\w+", name, re.IGNORECASE)]
    free = (f"_{letter}" for letter in ascii_letters if f"_{letter}" not in defined | kept)
    short = dict(zip((name for name in private if name not in texts), free, strict=False))
    for node in names:
        node.id = short.get(node.id, node.id)
    for node in attributes:
        node.attr = short.get(node.attr, node.attr)
    for node in made:
        node.name = short.get(node.name, node.name)


def _shorten_public(tree: ast.Module) -> None:
    """Rename the module's other functions, classes and constants: a program runs alone.

    A name that means anything else anywhere in the file, or is part of a string, stays: `main`, `run`.
    """
    names: list[ast.Name] = []
    made: dict[str, None] = {}
    kept: set[str] = {*dir(builtins), *keyword.kwlist}
    texts = ""
    for node in ast.walk(tree):
        match node:
            case ast.Name():
                names.append(node)
            case ast.Constant(value=str(text)):
                texts += f" {text}"
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)):
                kept.add(name)
            case ast.alias(name=name, asname=asname):
                kept.add((asname or name).partition(".")[0])
            case ast.Global(names=several) | ast.Nonlocal(names=several):
                kept.update(several)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if node in tree.body:
                made[name] = None
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                kept.add(name)
        if isinstance(node, ast.ClassDef):
            kept |= {
                n.id
                for part in node.body
                if isinstance(part, ast.Assign)
                for n in part.targets
                if isinstance(n, ast.Name)
            }
    for part in tree.body:
        if isinstance(part, ast.Assign):
            made.update((to.id, None) for to in part.targets if isinstance(to, ast.Name))
    taken = kept | made.keys() | {name.id for name in names}
    free = (two for pair in product(ascii_letters, repeat=2) if (two := "".join(pair)) not in taken)
    long = (
        name for name in made if len(name) > 2 and name[:1] != "_" and name not in kept and name not in texts
    )
    short = dict(zip(long, free, strict=False))
    for one in names:
        one.id = short.get(one.id, one.id)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = short.get(node.name, node.name)


def _close_up(text: str) -> str:
    """The program without the spaces that `ast.unparse` writes for readers only."""
    lines = text.splitlines()
    made: list[str] = []
    before, end = "\n", (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, start), string = token.start, token.string
        if token.type in {tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}:
            continue
        if token.type == tokenize.NEWLINE:
            made.append("\n")
        else:
            space = lines[row - 1][end[1] if row == end[0] else 0 : start]
            if before == "\n" or space.strip() or _are_words(before, string):
                made.append(space)
            made.append(lines[row - 1][start : token.end[1]] if row == token.end[0] else string)
        before, end = string, token.end
    return "".join(made)


def _are_words(before: str, after: str) -> bool:
    """Whether these would be read as one, or as something else, without the space between them."""
    return all(c.isalnum() or c in "_'\"" for c in (before[-1:], after[:1]))


def _functions(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """The functions of a module and the methods of its classes; what they define inside belongs to them."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            yield part
        elif isinstance(part, ast.ClassDef):
            yield from _functions(part)


def _names_outside_functions(tree: ast.Module) -> Iterator[str]:
    """Every name of the file that is no function's variable or parameter, or that one must keep."""
    inside = {id(node) for function in _functions(tree) for node in ast.walk(function)}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield (asname or name).partition(".")[0]
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
            case ast.Name(id=name) if id(node) not in inside:
                yield name
