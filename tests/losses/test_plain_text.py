"""Docstrings for a terminal."""
# ruff: noqa: RUF001 - Greek letters are meant

from __future__ import annotations

import pytest

from medseg.losses.plain_text import readable, wrapped


class TestReadable:
    @pytest.mark.parametrize(
        ("latex", "text"),
        [
            (r"$\gamma \ge 0$", "γ ≥ 0"),
            (r"$w_{FN}\,x^{g-1}$", "w_FN x^(g-1)"),
            (r"$\frac1C \sum_c \frac{a}{b + c}$", "1/C Σ_c [a / (b + c)]"),
            (r"$L = \frac{a + b}{\sum w}$", "L = (a + b) / (Σ w)"),
            (r"$\left(\frac{E_c}{T_c + s}\right)^g$", "(E_c / (T_c + s))^g"),
            (r"$\frac{\sqrt{a b}}{1 + \frac{1}{n}}$", "(√(a b)) / (1 + 1/n)"),
            (r"$\mathrm{softplus}(z)$ and $\ln\cosh D$", "softplus(z) and ln cosh D"),
            (r"$c_k \leftarrow \bar f_k$", "c_k ← f\N{COMBINING MACRON}_k"),
            (r"$y \in \{0, 1\}$", "y ∈ {0, 1}"),
            (r"$\begin{cases} d & \text{outside} \\ -d & \text{inside} \end{cases}$", "{ d if outside; -d if inside }"),
            (r"$\begin{cases} e & e \le 1 \\ 1 & \text{else} \end{cases}$", "{ e if e ≤ 1; 1 else }"),
            (r"$p_{t(x)}(x)$", "p_(t(x))(x)"),
            ("`weight: {schedule: linear}` and $w_{FP}$", "`weight: {schedule: linear}` and w_FP"),
        ],
    )
    def test_formulas_become_letters(self, latex: str, text: str) -> None:
        assert readable(latex) == text


class TestWrapped:
    def test_paragraphs_are_filled_and_formulas_stand_apart(self) -> None:
        text = "One two three\nfour five.\n$$ a =\n   b $$\nwith $a$.\n\nSix."
        assert wrapped(text, 16, "  ") == "  One two three\n  four five.\n      a =\n      b\n  with a.\n\n  Six."

    def test_tables_keep_their_lines(self) -> None:
        table = "=== ===\na   b\n=== ==="
        assert wrapped(table, 4) == table
