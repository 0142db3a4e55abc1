r"""House docstrings as text for a terminal: sections apart, paragraphs wrapped, formulas with letters in place of LaTeX commands."""

# ruff: noqa: RUF001 - Greek letters are meant

from __future__ import annotations

import inspect
import re
import textwrap

_SECTION = re.compile(r"^([A-Z][\w ]*):$", re.MULTILINE)
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|textstyle|displaystyle|limits)(?![A-Za-z])")
_CODE = re.compile(r"`[^`]*`")
_CASES = re.compile(r"\\begin\{cases\}(.*?)\\end\{cases\}", re.DOTALL)
_NEXT_CASE = r"\\"
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_FRACTION = re.compile(r"\\[dt]?frac\s*(\{[^{}]*\}|\w)\s*(\{[^{}]*\}|\w)")
_FONT = re.compile(r"\\(?:mathrm|mathbf|mathcal|text|operatorname)\s*\{([^{}]*)\}")
_ACCENT = re.compile(r"\\(bar|hat|tilde)\s*(?:\{(\w)\}|(\w))")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_END = re.compile(r"$|[-=+)\]},;.&\n⦄]|\\(?:[gln]eq?|approx|to|q?quad)(?![A-Za-z])")
_INDEX = re.compile(r"([_^])\{([^{}]*)\}")

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "psi": "ψ", "omega": "ω",
    "Delta": "Δ", "Phi": "Φ", "Omega": "Ω", "sum": "Σ", "prod": "Π", "cdot": "·", "times": "×", "odot": "⊙", "le": "≤", "leq": "≤",
    "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "propto": "∝", "in": "∈", "notin": "∉", "infty": "∞", "partial": "∂",
    "nabla": "∇", "int": "∫", "to": "→", "rightarrow": "→", "leftarrow": "←", "mapsto": "↦", "cap": "∩", "cup": "∪",
    "bigcap": "∩", "bigcup": "∪", "subset": "⊂", "setminus": "∖", "quad": "  ", "qquad": "    ",
    "lVert": "‖", "rVert": "‖", "Vert": "‖", "lvert": "|", "rvert": "|", "mid": "|", "ldots": "...", "dots": "...", "cdots": "...",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "pm": "±", "ell": "l", "circ": "°",
}  # fmt: skip
_ACCENTS = {"bar": "\N{COMBINING MACRON}", "hat": "\N{COMBINING CIRCUMFLEX ACCENT}", "tilde": "\N{COMBINING TILDE}"}


def sections(docstring: str) -> dict[str, str]:
    """A docstring's parts by their headings, dedented; what stands before the first heading has the key ''.

    >>> sections('''One line.
    ...
    ... Shape:
    ...     Any.
    ... ''')
    {'': 'One line.', 'Shape': 'Any.'}
    """
    first, *rest = _SECTION.split(inspect.cleandoc(docstring))
    parts = {heading: textwrap.dedent(text).strip() for heading, text in zip(rest[::2], rest[1::2], strict=True)}
    return {"": first.strip(), **parts}


def arguments(section: str) -> dict[str, str]:
    r"""The texts of an `Args` section by the arguments' names.

    >>> arguments("smooth: In voxels,\n    >= 0.\ngamma: $g$.")
    {'smooth': 'In voxels, >= 0.', 'gamma': '$g$.'}
    """
    items = re.split(r"^(\w+): ?", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(items[::2], items[1::2], strict=True)}


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Paragraphs filled to the width; tables and formulas of their own keep their lines."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(_paragraph(paragraph, width, indent) for paragraph in paragraphs)


def _paragraph(text: str, width: int, indent: str) -> str:
    if re.search(r"^[=+-]{3}|^ *>>> |^ *\|", text, re.MULTILINE):
        return textwrap.indent(_spelled(text), indent)
    lines = []
    for part in re.split(r"(\$\$.*?\$\$)", text, flags=re.DOTALL):
        if part.startswith("$$"):
            lines += [f"{indent}    {' '.join(line.split())}" for line in readable(part.strip("$").strip()).splitlines()]
        elif part.strip():
            filled = textwrap.fill(readable(" ".join(part.split())), width, initial_indent=indent, subsequent_indent=indent)
            lines.append(filled)
    return "\n".join(lines)


def readable(text: str) -> str:
    r"""Text with its LaTeX spelled in letters, as far as that goes.

    >>> readable(r"$w_{FP} = \frac{1}{1 + \beta^2} \ge 0$")
    'w_FP = 1 / (1 + β^2) ≥ 0'
    """
    return re.sub(r"(?<=\S) {2,}(?=\S)", " ", _spelled(text))


def _spelled(text: str) -> str:
    text = _CODE.sub(lambda match: match[0].replace("{", "⦃").replace("}", "⦄"), text.replace("$", ""))
    text = _CASES.sub(lambda match: f"⦃ {'; '.join(map(_case, match[1].split(_NEXT_CASE)))} ⦄", text)
    text = _SIZES.sub("", re.sub(r"\\[,;:!> ]|~|&(?!\s)", " ", text))
    text = text.replace(r"\\", " ").replace(r"\{", "⦃").replace(r"\}", "⦄").replace(r"\|", "‖")
    text = re.sub(r"(?<=[\w}])\^\\(?:prime|star)", "'", text)
    before = None
    while before != text:  # from the innermost braces outwards
        before = text
        text = _FONT.sub(r"\1", text)
        text = _ACCENT.sub(lambda match: (match[2] or match[3]) + _ACCENTS[match[1]], text)
        text = _INDEX.sub(lambda match: match[1] + _index(match[2]), text)
        text = _ROOT.sub(r"√(\1)", text)
        text = _FRACTION.sub(_divided, text)
    text = re.sub(r"(?<=[A-Za-z])(?=\\[A-Za-z])", " ", text)
    text = _COMMAND.sub(lambda match: _SYMBOLS.get(match[1], match[1]), text)
    return re.sub(r"[{}]", "", text).replace("⦃", "{").replace("⦄", "}")


def _divided(fraction: re.Match[str]) -> str:
    above, below = (_grouped(fraction[part].strip("{}")) for part in (1, 2))
    if len(above + below) <= 4:
        return f"{above}/{below}"
    before, after = fraction.string[: fraction.start()].rstrip(" "), fraction.string[fraction.end() :].lstrip(" ")
    alone = before[-1:] in ("", *"=+-([{,;&\n⦃") and _END.match(after)
    return f"{above} / {below}" if alone else f"[{above} / {below}]"


def _case(row: str) -> str:
    """A line of a formula with cases: the value, and when it holds."""
    value, _, condition = (part.strip() for part in row.partition("&"))
    return f"{value} {'' if re.search('else|otherwise', condition) else 'if '}{condition}"


def _index(text: str) -> str:
    """A subscript or superscript; in parentheses also where it is a function, whose argument would look like the base's."""
    return f"({text})" if text.endswith(")") and not text.startswith("(") else _grouped(text)


def _grouped(text: str) -> str:
    """In parentheses, unless it is one word."""
    text = text.strip()
    return text if re.fullmatch(r"\\?\w+|\W|[\w']+\^\w+|\w+\(\w\)", text) else f"({text})"
