"""The arithmetic on the page about the cost model is right, and the program agrees with it."""

import ast
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.cost.examples import EXAMPLES

PAGE = Path(__file__).parents[1] / "docs" / "cost-model.md"
ARITHMETIC = re.compile(r"^```arithmetic (?P<name>[\w-]+)\n(?P<lines>.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks() -> dict[str, list[tuple[str, Decimal]]]:
    """By name, each line's expression and the number that it is said to come to."""
    text = PAGE.read_text(encoding="utf-8")
    examples = {}
    for match in ARITHMETIC.finditer(text):
        assert match["name"] not in examples
        lines = [line.rsplit(" = ", 1) for line in match["lines"].splitlines()]
        examples[match["name"]] = [(expression, Decimal(result)) for expression, result in lines]
    return examples


def value(expression: str) -> Fraction:
    """What an expression of numbers, + - * / ** and parentheses comes to, exactly."""

    def of(node: ast.AST) -> Fraction:
        match node:
            case ast.Expression():
                return of(node.body)
            case ast.Constant():
                return Fraction(ast.unparse(node))
            case ast.UnaryOp(op=ast.USub()):
                return -of(node.operand)
            case ast.BinOp():
                left, right = of(node.left), of(node.right)
                match node.op:
                    case ast.Add():
                        return left + right
                    case ast.Sub():
                        return left - right
                    case ast.Mult():
                        return left * right
                    case ast.Div():
                        return left / right
                    case ast.Pow():
                        return left ** int(right)
        raise ValueError(f"not arithmetic: {expression}")

    return of(ast.parse(expression, mode="eval"))


def half(number: Decimal) -> Fraction:
    """Half of the last digit printed."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return Fraction(10) ** exponent / 2


@pytest.mark.parametrize("name", blocks())
def test_the_arithmetic_is_right(name: str) -> None:
    """Each line comes to its number, rounded as it is printed."""
    for expression, result in blocks()[name]:
        assert abs(value(expression) - Fraction(result)) <= half(result), expression


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_program_gives_the_same(name: str) -> None:
    """The example, run through the model, gives the numbers of its block."""
    documented = [number for _, number in blocks()[name]]
    computed = EXAMPLES[name]()
    assert len(computed) == len(documented)
    for number, expected in zip(computed, documented, strict=True):
        # a float may sit on either side of a border: a billionth is allowed beyond the printed digits
        assert abs(Fraction(number) - Fraction(expected)) <= half(expected) + abs(Fraction(expected)) / 10**9


def test_every_example_is_on_the_page_and_every_block_is_run() -> None:
    """Neither side has one that the other lacks; other fences hold no arithmetic."""
    assert set(blocks()) == set(EXAMPLES)
    assert PAGE.read_text(encoding="utf-8").count("```") == 2 * len(EXAMPLES)


def test_wrong_arithmetic_is_found() -> None:
    """The check can fail: a wrong last digit, and what is no arithmetic at all."""
    assert abs(value("280000 / (3 * 8766) / 8") - Fraction("1.3308")) > half(Decimal("1.3308"))
    assert value("-1.10 ** -1 + 2") == 2 - Fraction(10, 11)
    with pytest.raises(ValueError, match="not arithmetic"):
        value("abs(1)")
