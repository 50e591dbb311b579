"""Identities: what is equal has one hash, whoever computes it and on whatever machine.

Documents are hashed over their canonical JSON (RFC 8785), code over its syntax tree, so a
comment, a docstring or a line break changes nothing.
"""

import ast
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import rfc8785


def document_hash(document: Any) -> str:
    """`sha256:…` over the RFC 8785 bytes of `document`; NaN and infinity are refused by the format."""
    return f"sha256:{sha256(rfc8785.dumps(document)).hexdigest()}"


def code_hash(sources: Iterable[str]) -> str:
    """`sha256:…` over the syntax trees of Python `sources`, in the order given; docstrings do not count."""
    digest = sha256()
    for source in sources:
        digest.update(ast.dump(_without_docstrings(ast.parse(source))).encode())
    return f"sha256:{digest.hexdigest()}"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]
    return tree
