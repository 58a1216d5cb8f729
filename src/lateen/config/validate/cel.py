"""Common Expression Language: whether a text is an expression. Called for filters of access logs.

Source: CEL's language definition (syntax). Names and types are not looked at: which there are is Envoy's matter.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<string>[bB]?[rR]?(?:\"{3}.*?\"{3}|'{3}.*?'{3})|[bB]?[rR](?:"[^"\n\r]*"|'[^'\n\r]*')|[bB]?(?:"(?:[^"\\\n\r]|\\[^\n\r])*"|'(?:[^'\\\n\r]|\\[^\n\r])*'))
    |(?P<number>0x[0-9a-fA-F]+u?|\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>\|\||&&|<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_BINARY = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
"""From the loosest to the tightest."""
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_DEPTH = 60
"""How deep expressions may lie in one another."""


class _Broken(Exception):
    """It is no expression, for the reason in the first argument."""


def cel_problem(text: str) -> str | None:
    """Why the text is no expression; None: it is one."""
    try:
        parser = _Parser(_tokens(text))
        parser.expression()
        parser.end()
    except _Broken as broken:
        return str(broken)
    return None


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each, without spaces and comments."""
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _Broken(f"nothing starts with `{text[at]}`")
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match[0]))
        at = match.end()
    return found


@dataclass
class _Parser:
    """Goes over the tokens once, from left to right."""

    tokens: list[tuple[str, str]]
    at: int = 0
    depth: int = 0

    def expression(self) -> None:
        """One, with its condition if it has one."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise _Broken("too deep")
        self._binary(0)
        if self._takes("?"):
            self._binary(0)
            self._needs(":")
            self.expression()
        self.depth -= 1

    def end(self) -> None:
        """Nothing may be left."""
        if self.at < len(self.tokens):
            raise _Broken(f"`{self.tokens[self.at][1]}` is one too many")

    def _next(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise _Broken("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def _takes(self, *signs: str) -> bool:
        """Whether the next token is one of these, which is then passed. A string is none."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] in ("sign", "name") and self.tokens[self.at][1] in signs:
            self.at += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        kind, text = self._next()
        if kind != "sign" or text != sign:
            raise _Broken(f"`{sign}` is missing before `{text}`")

    def _binary(self, level: int) -> None:
        if level == len(_BINARY):
            self._unary()
            return
        self._binary(level + 1)
        while self._takes(*_BINARY[level]):
            self._binary(level + 1)

    def _unary(self) -> None:
        for sign in ("!", "-"):
            if self._takes(sign):
                while self._takes(sign):
                    pass
                break
        is_named = self._primary()
        while True:
            if self._takes("."):
                self._name()
                if self._takes("("):
                    self._list("(")
                    is_named = False
            elif self._takes("["):
                self.expression()
                self._needs("]")
                is_named = False
            elif is_named and self._takes("{"):
                self._pairs()
                is_named = False
            else:
                return

    def _name(self) -> None:
        kind, text = self._next()
        if kind != "name" or text in ("in", "true", "false", "null"):
            raise _Broken(f"`{text}` is no name")

    def _primary(self) -> bool:
        """A value; whether it is a bare name, which a message of that name may follow."""
        kind, text = self._next()
        if kind in ("string", "number") or text in ("true", "false", "null"):
            return False
        if text in ("(", "["):
            if text == "[":
                self._list(text)
            else:
                self.expression()
                self._needs(")")
            return False
        if text == "{":
            self._pairs()
            return False
        if text == ".":
            self._name()
        elif kind != "name" or text == "in":
            raise _Broken(f"`{text}` stands where a value should")
        if not self._takes("("):
            return True
        self._list("(")
        return False

    def _list(self, opening: str) -> None:
        """Expressions between commas, up to what closes; a list may end in a comma, arguments may not."""
        closing = _CLOSING[opening]
        if self._takes(closing):
            return
        self.expression()
        while self._takes(","):
            if opening == "[" and self._takes(closing):
                return
            self.expression()
        self._needs(closing)

    def _pairs(self) -> None:
        """Keys and values of a map, fields and values of a message."""
        while not self._takes("}"):
            self.expression()
            self._needs(":")
            self.expression()
            if not self._takes(","):
                self._needs("}")
                return
