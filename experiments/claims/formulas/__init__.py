"""Formulas as the docstrings type them, in MathML.

A formula is a line of text: `δ_l = (δ_{l+1} w_{l+1}ᵀ) ∘ g'(z_l)`, `1/m Σ_i (a_i - y_i)²`, `a^[l]`, `√(2 / n_in)`.
Subscripts follow `_`, superscripts `^`; both take one name, one number or a group in braces, and a subscript also a
group in parentheses. A slash without spaces divides what touches it (`V/2n` is V/(2n)); one between spaces divides the
products on both sides (`exp z_i / Σ_j exp z_j`).
"""
